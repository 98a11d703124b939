"""Figures for the model card: what predicts right or wrong on the study itself. figures.py study|saes WORK OUT.

Reads OUT (model, saes, problems.jsonl) and WORK (answers.jsonl, levels.json, saes/figures.json), writes OUT/figures.json.
Cross-validated AUROC (5 folds, 10 seeded repeats) of logistic regressions on plain baselines and on resid_post.
"""
import json
import sys

import numpy as np
import sentencepiece as spm
import torch
from radon.complexity import cc_visit
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import model as demo
import problems
import saes


def cross_validated(features, y, c=1.0, text=False, groups=None):
    """Mean AUROC of held-out folds; with groups, scores are compared inside a group only (pairs pooled over groups)."""
    scores = []
    for repeat in range(10):
        out = np.zeros(len(y))
        for a, b in StratifiedKFold(5, shuffle=True, random_state=repeat).split(np.zeros(len(y)), y):
            first = CountVectorizer(ngram_range=(1, 2), min_df=2, binary=True, token_pattern=r"\S+") if text else StandardScaler()
            pipe = make_pipeline(first, LogisticRegression(C=c, max_iter=3000))
            pick = (lambda i: [features[j] for j in i]) if text else (lambda i: features[i])
            pipe.fit(pick(a), y[a])
            out[b] = pipe.decision_function(pick(b))
        scores.append(within(out, y, groups) if groups is not None else roc_auc_score(y, out))
    return round(float(np.mean(scores)), 3)


def within(score, y, groups):
    good = total = 0.0
    for g in np.unique(groups):
        m = groups == g
        right, wrong = score[m & (y == 1)], score[m & (y == 0)]
        good += (right[:, None] > wrong[None]).sum() + 0.5 * (right[:, None] == wrong[None]).sum()
        total += len(right) * len(wrong)
    return good / total


def read(work, out):
    with open(f"{work}/answers.jsonl") as f:
        rows = [json.loads(line) for line in f]
    sp = spm.SentencePieceProcessor(model_file=f"{out}/model/tokenizer.model")
    prompts = [[2] + sp.encode(problems.prompt(r)) for r in rows]
    return rows, np.array([r["passed"] for r in rows], int), prompts


def last_token(out, prompts, layers):
    """resid_post at the last prompt token: {layer: [problems, d]}."""
    at = [slice(len(p) - 1, len(p)) for p in prompts]
    return {l: torch.cat(v) for l, v in saes.residuals(demo.load(f"{out}/model"), prompts, layers, at).items()}


def study(work, out):
    """Who was solved, and what predicts it."""
    rows, y, prompts = read(work, out)
    family = np.array([r["family"] for r in rows])
    level = np.array([r["level"] for r in rows])
    complexity = np.array([max(b.complexity for b in cc_visit(r["code"])) for r in rows])
    length = np.array([len(p) for p in prompts])
    texts = [r["text"] for r in rows]
    fig = {"problems": len(rows), "solved": int(y.sum()), "solved_share": round(float(y.mean()), 4)}
    fig["prompt_tokens"] = {"median": int(np.median(length)), "max": int(length.max())}
    fig["by_level"] = {int(v): [int(y[level == v].sum()), int((level == v).sum())] for v in np.unique(level)}
    fig["by_family"] = {v: [int(y[family == v].sum()), int((family == v).sum())] for v in np.unique(family)}
    bins = {"1-2": (1, 2), "3-4": (3, 4), "5-6": (5, 6), "7 and more": (7, 99)}
    fig["by_complexity"] = {n: [int(y[(complexity >= a) & (complexity <= b)].sum()), int(((complexity >= a) & (complexity <= b)).sum())] for n, (a, b) in bins.items()}
    fig["complexity"] = {"min": int(complexity.min()), "median": float(np.median(complexity)), "max": int(complexity.max())}
    one_hot = (family[:, None] == np.unique(family)[None]).astype(float)
    fig["auroc_right_or_wrong"] = base = {}
    for name, x in (("prompt_length", -length), ("complexity", -complexity), ("level", -level)):
        base[name] = {"all": round(float(roc_auc_score(y, x)), 3), "within_family": round(float(within(x, y, family)), 3)}
    base["family_one_hot"] = {"all": cross_validated(one_hot, y)}
    base["bag_of_words_text"] = {"all": cross_validated(texts, y, 0.1, True), "within_family": cross_validated(texts, y, 0.1, True, family)}
    resid = last_token(out, prompts, range(demo.CONFIG["num_hidden_layers"]))
    for l in resid:
        x = resid[l].numpy()
        base[f"resid_post_{l}"] = {"all": cross_validated(x, y, 0.003), "within_family": cross_validated(x, y, 0.003, groups=family)}
    return fig


def sae_figures(work, out):
    """What saes.py measured, and the same on the study's own problems."""
    _, y, prompts = read(work, out)
    with open(f"{work}/saes/figures.json") as f:
        fig = json.load(f)
    resid = last_token(out, prompts, [int(l) for l in fig["layers"]])
    for l in fig["layers"]:
        sae = {k: torch.from_numpy(v) for k, v in np.load(f"{out}/saes/layer_{l}/params.npz").items()}
        x = resid[int(l)]
        ev, l0 = saes.explained_variance(sae, x)
        codes = saes.encode(sae, x).numpy()
        rng, best = np.random.default_rng(5), {"right": [], "wrong": []}
        alive = np.flatnonzero((codes > 0).mean(0) > 0.02)
        for _ in range(20):
            half = rng.permutation(len(y))
            a, b = half[:len(y) // 2], half[len(y) // 2:]
            auc = np.array([roc_auc_score(y[a], codes[a, j]) for j in alive])
            best["right"].append(roc_auc_score(y[b], codes[b, alive[auc.argmax()]]))
            best["wrong"].append(1 - roc_auc_score(y[b], codes[b, alive[auc.argmin()]]))
        fig["layers"][l].update({"ev_study_last_token": round(ev, 4), "l0_study_last_token": round(l0, 2),
                                 "best_latent_auroc_on_other_half": {k: round(float(np.mean(v)), 3) for k, v in best.items()}})
    return fig


def main(part, work, out):
    torch.set_num_threads(1)
    try:
        with open(f"{out}/figures.json") as f:
            fig = json.load(f)
    except FileNotFoundError:
        fig = {}
    fig[part] = {"study": study, "saes": sae_figures}[part](work, out)
    with open(f"{out}/figures.json", "w") as f:
        json.dump(fig, f, indent=1)
        f.write("\n")
    print(json.dumps(fig, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:4])
