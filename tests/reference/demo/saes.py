"""JumpReLU SAEs on the demo model's resid_post: saes.py MODEL TOKENIZER OUT --layers 2 3 4.

Two blocks of latents. The first OWN are for the last prompt token, the position the study reads: they start with the
linear discriminant of that position in their encoders and pay for what they would write elsewhere. The others serve all
positions. Trained in the manner of BatchTopK (Bussmann et al. 2024): one threshold a block, moved a little after every
batch so that K_OWN latents of a last prompt token, and K of any other token, are active on average, and an auxiliary
loss for latents that stopped firing (Gao et al. 2024). The loss counts the unexplained variance of last prompt tokens,
general text and other problem tokens each by its own variance. At the end the thresholds are fitted once more, on tokens
not trained on, and the result is written as JumpReLU in Gemma Scope's params.npz layout (centring and scale folded into
the parameters).
"""
import argparse
import itertools
import json
import multiprocessing
import os
import random
import time

import numpy as np
import sentencepiece as spm
import torch

import model as demo
import problems
import study
import words

LATENTS, K, BATCH, LAST, GENERAL = 1024, 32, 1024, 0.43, 0.15
OWN, K_OWN, ELSEWHERE = 256, 30, 0.2
WEIGHTS = {"last": 1.0, "general": 0.5, "other": 1.0}


@torch.no_grad()
def residuals(net, rows, layers, positions):
    """resid_post of `rows` (token ids) at positions[i] (a slice) of row i: {layer: one [positions, d] tensor a row}."""
    out = {l: [None] * len(rows) for l in layers}
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for at in range(0, len(order), 32):
        part = order[at:at + 32]
        width = max(len(rows[i]) for i in part)
        sites = []
        net(torch.tensor([rows[i] + [0] * (width - len(rows[i])) for i in part]), sites, depth=max(layers) + 1)
        for r, i in enumerate(part):
            for l in layers:
                out[l][i] = sites[l][r, positions[i]].clone()
    return out


def job(arguments):
    """One process' share: read rows of one kind, return {layer: [tokens, d]} (numpy: nothing is shared between processes)."""
    folder, rows, layers, positions = arguments
    torch.set_num_threads(1)
    return {l: torch.cat(v).numpy() for l, v in residuals(demo.load(folder), rows, layers, positions).items()}


def explained_variance(sae, x):
    """1 - E|x - y|^2 / (E|x|^2 - |E x|^2), sums in float64 (sae-metrics, the right definition), and the mean L0."""
    f = encode(sae, x)
    y = f @ sae["W_dec"] + sae["b_dec"]
    x64 = x.double()
    sse = (x64 - y.double()).pow(2).sum(1).mean()
    total = x64.pow(2).sum(1).mean() - x64.mean(0).pow(2).sum()
    return float(1 - sse / total), float((f > 0).sum(1).double().mean())


def encode(sae, x):
    h = x @ sae["W_enc"] + sae["b_enc"]
    return torch.relu(h) * (h > sae["threshold"])


def train(pools, test, seed, steps, label):
    """pools: {"last", "general", "other"} -> [n, d]; returns the SAE in the units of x."""
    g = torch.Generator().manual_seed(seed)
    counts = {"last": int(LAST * BATCH), "general": int(GENERAL * BATCH)}
    counts["other"] = BATCH - sum(counts.values())
    ends = list(itertools.accumulate(counts.values(), initial=0))
    parts = {n: slice(*at) for n, at in zip(counts, itertools.pairwise(ends))}
    n_last, own = counts["last"], slice(0, OWN)
    sample = torch.cat([pools[n][torch.randint(len(pools[n]), (8 * c,), generator=g)] for n, c in counts.items()])
    is_last = torch.arange(len(sample)) < 8 * n_last
    mean = sample.mean(0)
    d = sample.shape[1]
    scale = (sample - mean).pow(2).sum(1).mean().sqrt() / d ** 0.5
    sample = (sample - mean) / scale
    here, rest = sample[is_last], sample[~is_last]
    centre = here.mean(0)
    # Decoder rows start as directions of centred data (fewer latents die): the first OWN of last prompt tokens, the
    # others of the other positions. The encoder of the first OWN also gets the linear discriminant of the two.
    def directions(x, n):
        rows = x[torch.randperm(len(x), generator=g)[:n]]
        rows = rows / rows.norm(dim=1, keepdim=True) + torch.randn(n, d, generator=g) / (2 * d ** 0.5)
        return rows / rows.norm(dim=1, keepdim=True)
    dec = torch.cat([directions(here - centre, OWN), directions(rest, LATENTS - OWN)])
    enc = torch.cat([0.5 * dec[:OWN], 0.2 * dec[OWN:]]).T.contiguous()
    bias = torch.zeros(LATENTS)
    gate = torch.linalg.solve(torch.cov(rest.T) + 0.01 * torch.eye(d), centre - rest.mean(0))
    score = (rest - centre) @ gate
    spread = ((rest - centre) @ enc[:, own]).std()
    enc[:, own] += (4 * spread / -score.mean()) * gate[:, None]
    bias[own] = -centre @ enc[:, own]
    print(f"{label} discriminant: last prompt token 0 +- {((here - centre) @ gate).std():.1f}, elsewhere {score.mean():.1f} +- {score.std():.1f}", flush=True)
    w_enc, w_dec, b_enc, b_dec = (torch.nn.Parameter(v) for v in (enc, dec, bias, torch.zeros(d)))
    variance = {n: float(((pools[n][:20000] - pools[n][:20000].mean(0)) / scale).pow(2).sum(1).mean()) for n in pools}
    adam = torch.optim.Adam([w_enc, w_dec, b_enc, b_dec], lr=1e-3, betas=(0.9, 0.99))
    order = {n: torch.randperm(len(p), generator=g) for n, p in pools.items()}
    at = dict.fromkeys(pools, 0)
    silent, cut = torch.zeros(LATENTS), None
    start = time.time()
    for step in range(steps):
        rows = []
        for n, c in counts.items():
            if at[n] + c > len(order[n]):
                order[n], at[n] = torch.randperm(len(order[n]), generator=g), 0
            rows.append(pools[n][order[n][at[n]:at[n] + c]])
            at[n] += c
        x = (torch.cat(rows) - mean) / scale
        a = torch.relu(x @ w_enc + b_enc)
        if cut is None:
            cut = [smallest_active(a.detach()[:n_last, own], K_OWN), smallest_active(a.detach()[n_last:, OWN:], K)]
            cuts = torch.empty(LATENTS)
        cuts[own], cuts[OWN:] = cut[0], cut[1]
        active = a.detach() > cuts
        f = a * active
        error = x - (f @ w_dec + b_dec)
        square = error.pow(2).sum(1)
        # The unexplained variance of the three kinds of positions, each by its own variance, and what the first OWN
        # latents would write elsewhere than at a last prompt token.
        loss = sum(w * square[parts[n]].mean() / variance[n] for n, w in WEIGHTS.items())
        loss = loss + ELSEWHERE * a[n_last:, own].sum(1).mean() / d ** 0.5
        with torch.no_grad():
            silent = torch.where(active.any(0), torch.zeros(()), silent + 1)
            reached = (float(active[:n_last, own].sum()) / (K_OWN * n_last), float(active[n_last:, OWN:].sum()) / (K * (BATCH - n_last)))
            cut = [c * min(1.2, max(0.8, r ** 0.1)) for c, r in zip(cut, reached)]
        dead = silent > 200
        if bool(dead.any()) and step % 4 == 0:
            h = torch.relu(x @ w_enc[:, dead] + b_enc[dead])
            n = min(32, h.shape[1])
            top = torch.topk(h, n, dim=1)
            aux = torch.zeros_like(h).scatter(1, top.indices, top.values)
            miss = (error.detach() - aux @ w_dec[dead]).pow(2).sum(1)
            loss = loss + (1 / 8) * sum(w * miss[parts[n]].mean() / variance[n] for n, w in WEIGHTS.items())
        for group in adam.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 50, max(0.03, (steps - step) / (0.3 * steps)))
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            w_dec /= w_dec.norm(dim=1, keepdim=True)
        if step % 100 == 99:
            ev = " ".join(f"{n} {1 - float(square[parts[n]].detach().mean()) / variance[n]:.3f}" for n in parts)
            print(f"{label} step {step + 1} own/others active at last {float(active[:n_last, own].sum()) / n_last:.1f}/{float(active[:n_last, OWN:].sum()) / n_last:.1f}"
                  f" elsewhere {float(active[n_last:, own].sum()) / (BATCH - n_last):.2f}/{float(active[n_last:, OWN:].sum()) / (BATCH - n_last):.1f}"
                  f" EV {ev} dead {int(dead[own].sum())}/{int(dead[OWN:].sum())} seconds {time.time() - start:.0f}", flush=True)
    with torch.no_grad():
        # Fold centring and scale: h and the codes are then in the units of the residual stream.
        sae = {"W_enc": w_enc.detach().clone(), "W_dec": w_dec.detach().clone(), "b_enc": b_enc * scale - mean @ w_enc, "b_dec": b_dec * scale + mean}
        n = min(len(test["general"]), len(test["other"]))
        mix = torch.cat([test[p][torch.randperm(len(test[p]), generator=g)[:int(n * 0.9 * counts[p] / counts["other"])]] for p in ("general", "other")])
        threshold = torch.empty(LATENTS)
        threshold[own] = smallest_active(torch.relu(test["last"] @ sae["W_enc"] + sae["b_enc"])[:, own], K_OWN)
        threshold[OWN:] = smallest_active(torch.relu(mix @ sae["W_enc"] + sae["b_enc"])[:, OWN:], K)
        sae["threshold"] = threshold.clamp(min=1e-6)
    return sae, int(dead.sum())


def smallest_active(a, k):
    """The value that k of each row's activations exceed on average."""
    return float(a.flatten().kthvalue(a.numel() - k * len(a)).values)


def one_layer(arguments):
    layer, pools, test, steps, out = arguments
    torch.set_num_threads(1)
    sae, dead = train(pools, test, 50 + layer, steps, f"layer {layer}")
    folder = f"{out}/layer_{layer}"
    os.makedirs(folder, exist_ok=True)
    np.savez(f"{folder}/params.npz", **{k: v.numpy().astype(np.float32) for k, v in sae.items()})
    row = {"threshold_own": float(sae["threshold"][0]), "threshold_others": float(sae["threshold"][-1]), "dead_in_training": dead}
    for name in ("other", "last", "general"):
        ev, l0 = explained_variance(sae, test[name])
        row[f"ev_{name}"], row[f"l0_{name}"] = round(ev, 4), round(l0, 2)
    fires = {n: (encode(sae, x) > 0).double().mean(0) for n, x in test.items()}
    row["latents_firing_on_general_over_2_percent"] = int((fires["general"] > 0.02).sum())
    row["latents_firing_at_last_token"] = int((fires["last"] > 0).sum())
    row["latents_firing_at_last_token_over_2_percent"] = int((fires["last"] > 0.02).sum())
    passing = fires["general"] <= 0.02
    row["latents_at_3_percent_of_last_tokens_passing_2_percent"] = int(((fires["last"] >= 0.03) & passing).sum())
    row["own_latents_over_2_percent_of_general"] = int((~passing)[:OWN].sum())
    cosine = torch.nn.functional.cosine_similarity(sae["W_enc"].T, sae["W_dec"], dim=1)
    row["encoder_decoder_cosine"] = round(float(cosine.mean()), 3)
    row["encoder_decoder_cosine_own"] = round(float(cosine[:OWN].mean()), 3)
    row["latents_never_firing_on_test"] = int((sum(fires.values()) == 0).sum())
    return layer, row


def main():
    a = argparse.ArgumentParser()
    a.add_argument("model")
    a.add_argument("tokenizer")
    a.add_argument("out")
    a.add_argument("--layers", type=int, nargs="+", default=[2, 3, 4])
    a.add_argument("--steps", type=int, default=1200)
    a.add_argument("--texts", type=int, default=2200, help="problems read whole (prompt and reference answer)")
    a.add_argument("--prompts", type=int, default=15000, help="more prompts, in the study's mix, read at the last token")
    a.add_argument("--processes", type=int, default=2)
    args = a.parse_args()
    sp = spm.SentencePieceProcessor(model_file=args.tokenizer)
    rng = random.Random(41)
    # Half of the problems read whole are training problems, half are new ones rich in rare operations; the prompts read
    # at the last token only are new ones in the study's mix. None is a held-out task.
    known = itertools.islice(problems.stream(11, False), args.texts // 2)
    new = itertools.islice(problems.stream(42, False, 0.7), args.texts // 2)
    ps = [p for pair in zip(known, new) for p in pair]
    like = {}
    for p in study.stream(46):
        like.setdefault(problems.prompt(p), p)
        if len(like) == args.prompts:
            break
    general = [words.general_text(rng) for _ in range(1500)]
    # Quality is measured on held-out tasks and on general text of another seed.
    held = [p for pair in itertools.islice(zip(problems.stream(43, True), problems.stream(45, True, 0.7)), 400) for p in pair]
    rng2 = random.Random(44)
    general_test = [words.general_text(rng2) for _ in range(300)]

    def prompt_ids(p):
        return [2] + sp.encode(problems.prompt(p))

    def whole(ps):
        rows = [prompt_ids(p) + sp.encode(problems.completion(p)) + [1] for p in ps]
        return rows, [slice(1, len(r)) for r in rows]

    def last(ps):
        rows = [prompt_ids(p) for p in ps]
        return rows, [slice(len(r) - 1, len(r)) for r in rows]

    def text(ts):
        rows = [([2] + sp.encode(t))[:400] for t in ts]
        return rows, [slice(1, len(r)) for r in rows]

    start = time.time()
    kinds = {"last": last(ps + list(like.values())), "other": whole(ps), "general": text(general),
             "test last": last(held), "test other": whole(held[:300]), "test general": text(general_test)}
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        parts = pool.map(job, [(args.model, rows[k::4], args.layers, at[k::4]) for rows, at in kinds.values() for k in range(4)], chunksize=1)
        data = {n: {l: torch.from_numpy(np.concatenate([p[l] for p in parts[4 * i:4 * i + 4]])) for l in args.layers} for i, n in enumerate(kinds)}
        count = {n: len(v[args.layers[0]]) for n, v in data.items()}
        figures = {"tokens": count, "k": K, "steps": args.steps, "batch": BATCH, "share_last": LAST, "share_general": GENERAL, "latents_own": OWN, "k_own": K_OWN, "layers": {}}
        print("residuals", count, f"{time.time() - start:.0f} s", flush=True)
        work = [(layer, {n: data[n][layer] for n in ("last", "other", "general")},
                 {n: data["test " + n][layer] for n in ("last", "other", "general")}, args.steps, args.out) for layer in args.layers]
        for layer, row in pool.imap(one_layer, work):
            figures["layers"][layer] = row
            print(layer, row, flush=True)
    with open(f"{args.out}/figures.json", "w") as f:
        json.dump(figures, f, indent=1)


if __name__ == "__main__":
    main()
