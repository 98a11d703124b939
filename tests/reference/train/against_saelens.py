#!/usr/bin/env python3
"""pva_train_sae beside SAELens' own trainer: the same sequences, width, L0, learning rates, warm-up, decay, batches and number of steps,
both on the CPU with the same number of threads. Explained variance, L0 and loss recovered on the held-out sequences are measured here for
both SAEs by the same code (SAELens loads both from their folders); tokens a second are those of model and training together.

    against_saelens.py --bin DIR --model FOLDER --text FILES --layer L --latents M --l0 K --tokens N [--kind topk] [--rate R ...]
                       [--initial-norm 0.1 ...] [--l0-coefficient C ...] --work DIR [--pva more options of pva_train_sae]

SAELens' rows come from transformers' forward pass, cut after the layer, through a shuffle buffer of the same size; its SAETrainer and
training SAE are used as they are. It trains one SAE for each rate and initial norm of the decoder rows (its usual one is 0.1; pva keeps
them at 1). jumprelu: SAELens has a weight of the L0 and no target. It goes first, with each weight, and pva gets the L0 that the SAE whose
L0 is nearest to --l0 came to as its target. SAELens' usual thresholds (0.01 at first, a bandwidth of 0.05 for rows of norm sqrt(d)) hardly move in a few
hundred steps, so it gets pva's: a threshold at which the L0 is twice --l0, a bandwidth of 0.05 sqrt(d); --usual-thresholds leaves its own. batchtopk: both keep a moving average of the threshold, SAELens' from 0 on, which after few
steps lies far below; so both SAEs are also measured with the threshold that gives the wanted L0 on the first batches, and these figures count.

Exit code 1 when, of each trainer's best SAE, explained variance or loss recovered of pva's is more than 0.01 below SAELens', or its tokens a
second are fewer. Needs sae-lens, transformers, torch; used with sae-lens 6.45.2.
"""
import argparse
import csv
import json
import os
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--bin", required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--text", required=True)
parser.add_argument("--layer", type=int, required=True)
parser.add_argument("--latents", type=int, required=True)
parser.add_argument("--l0", type=int, required=True)
parser.add_argument("--tokens", type=int, required=True)
parser.add_argument("--kind", default="topk", choices=["topk", "batchtopk", "jumprelu"])
parser.add_argument("--context", type=int, default=128)
parser.add_argument("--batch", type=int, default=2048)
parser.add_argument("--buffer", type=int, default=65536)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rate", type=float, nargs="+", default=[1e-3, 4e-3], help="learning rates, of both")
parser.add_argument("--initial-norm", type=float, nargs="+", default=[0.1], help="of SAELens' decoder rows")
parser.add_argument("--l0-coefficient", type=float, nargs="+", default=[1.0], help="jumprelu: SAELens' weights of L0; the one nearest to the target counts")
parser.add_argument("--usual-thresholds", action="store_true", help="jumprelu: SAELens' own first thresholds and bandwidth")
parser.add_argument("--loss-sequences", type=int, default=32)
parser.add_argument("--pva", nargs=argparse.REMAINDER, default=[], help="more options for pva_train_sae, at the end")
parser.add_argument("--work", required=True)
arguments = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(arguments.threads)

import torch  # noqa: E402
import transformers  # noqa: E402
import sae_lens  # noqa: E402
from sae_lens import SAE  # noqa: E402
from sae_lens.config import LoggingConfig, SAETrainerConfig  # noqa: E402
from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig  # noqa: E402
from sae_lens.saes.jumprelu_sae import JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig  # noqa: E402
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig  # noqa: E402
from sae_lens.training.sae_trainer import SAETrainer  # noqa: E402

torch.set_num_threads(arguments.threads)
torch.manual_seed(0)
steps = arguments.tokens // arguments.batch


def train_pva(rate, l0, name, tokens=arguments.tokens):
    out = os.path.join(arguments.work, name)
    command = [os.path.join(arguments.bin, "pva_train_sae"), "--data", arguments.work, "--model", arguments.model, "--text", arguments.text, "--layers", str(arguments.layer), "--latents", str(arguments.latents),
               "--l0", str(l0), "--learning-rate", str(rate), "--kind", arguments.kind, "--tokens", str(tokens), "--context", str(arguments.context), "--batch", str(arguments.batch), "--buffer", str(arguments.buffer),
               "--threads", str(arguments.threads), "--measure-every", str(10**9), "--out", out, *arguments.pva]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(out, "training.json")) as file:
        record = json.load(file)
    return os.path.join(out, f"layer_{arguments.layer}"), record


def sequences_of(record):
    """The documents as pva took them, tokenized and packed here."""
    if os.path.exists(os.path.join(arguments.model, "tokenizer.json")):
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(arguments.model, "tokenizer.json"))
        encode = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        import sentencepiece
        pieces = sentencepiece.SentencePieceProcessor(model_file=os.path.join(arguments.model, "tokenizer.model"))
        encode = lambda text: pieces.encode(text)
    bos, separator, length = record["text"]["bos"], record["text"]["separator"], record["text"]["context"]
    texts = {}
    for path in arguments.text.split(","):
        with open(path, encoding="utf-8") as file:
            texts[path] = [t for t in (json.loads(line)["text"] for line in file if line.strip()) if t] if path.endswith(".jsonl") else [file.read()]
    parts = {"trained": [], "measured": []}
    with open(os.path.join(arguments.work, "texts", "documents.tsv"), encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["part"] in parts:
                ids = encode(texts[row["source"]][int(row["record"])])
                assert len(ids) == int(row["tokens"]), f"{row['source']} {row['record']}: {len(ids)} tokens here, {row['tokens']} in pva"
                parts[row["part"]].append(ids)
    packed = {}
    for name, documents in parts.items():
        head = [] if bos is None else [bos]
        now, all_sequences = list(head), []
        for i, document in enumerate(documents):
            for token in ([separator] if i and separator is not None and len(now) > len(head) else []) + document:
                now.append(token)
                if len(now) == length:
                    all_sequences.append(now)
                    now = list(head)
        packed[name] = torch.tensor(all_sequences)
    assert len(packed["trained"]) == record["text"]["trained_sequences"], "sequences to train on"
    assert len(packed["measured"]) == record["text"]["measured_sequences"], "sequences to measure on"
    return packed["trained"], packed["measured"], bos


def used(ids, bos):
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, 0] = False
    return mask if bos is None else mask & (ids != bos)


class Rows:
    """Batches of rows: sequences in random order through a shuffle buffer. They are made once, for all trainings; `seconds` is what a
    training's number of batches took."""

    def __init__(self, model, sequences, bos):
        self.model, self.sequences, self.bos, self.at, self.order = model, sequences, bos, 0, torch.randperm(len(sequences))
        self.rows, self.place = None, 0
        start = time.time()
        self.batches = [self.make().clone() for _ in range(steps)]
        self.seconds = time.time() - start

    def stream(self):
        """SAELens takes a few batches more, for the mean norm."""
        while True:
            yield from self.batches

    @torch.no_grad()
    def make(self):
        if self.rows is None or self.place + arguments.batch > len(self.rows):
            rows, have = [], 0
            while have < max(arguments.buffer, arguments.batch):
                if self.at + 4 > len(self.order):
                    self.order, self.at = torch.randperm(len(self.sequences)), 0
                ids = self.sequences[self.order[self.at:self.at + 4]]
                self.at += 4
                hidden = self.model(input_ids=ids, use_cache=False).last_hidden_state
                rows.append(hidden[used(ids, self.bos)])
                have += len(rows[-1])
            rows = torch.cat(rows)
            self.rows, self.place = rows[torch.randperm(len(rows))], 0
        self.place += arguments.batch
        return self.rows[self.place - arguments.batch:self.place]


def train_saelens(rows, d, rate, norm, coefficient):
    common = dict(d_in=d, d_sae=arguments.latents, dtype="float32", device="cpu", normalize_activations="expected_average_only_in", apply_b_dec_to_input=True, decoder_init_norm=norm)
    if arguments.kind == "topk":
        sae = TopKTrainingSAE(TopKTrainingSAEConfig(k=arguments.l0, **common))
    elif arguments.kind == "batchtopk":
        sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(k=arguments.l0, **common))
    else:
        bandwidth = {} if arguments.usual_thresholds else {"jumprelu_bandwidth": 0.05 * d**0.5}
        sae = JumpReLUTrainingSAE(JumpReLUTrainingSAEConfig(l0_coefficient=coefficient, l0_warm_up_steps=steps // 10, **bandwidth, **common))
        if not arguments.usual_thresholds:
            with torch.no_grad():
                x = rows.batches[0]
                h = x * (d**0.5 / x.norm(dim=-1).mean()) @ sae.W_enc
                sae.log_threshold.fill_(float(h.flatten().kthvalue(h.numel() - 2 * arguments.l0 * len(x)).values.log()))
    config = SAETrainerConfig(total_training_samples=steps * arguments.batch, train_batch_size_samples=arguments.batch, lr=rate, lr_warm_up_steps=steps // 20, lr_decay_steps=steps // 5,
                              dead_feature_window=max(1, steps // 10), n_batches_for_norm_estimate=max(1, min(16, steps // 20)), device="cpu", lr_end=0.0, logger=LoggingConfig(log_to_wandb=False))
    start = time.time()
    trained = SAETrainer(cfg=config, sae=sae, data_provider=rows.stream()).fit()
    seconds = time.time() - start + rows.seconds
    folder = os.path.join(arguments.work, f"saelens_{arguments.kind}_{rate}_{norm}_{coefficient}")
    trained.save_inference_model(folder)
    return folder, seconds


@torch.no_grad()
def fit_threshold(sae, rows):
    """Sets one threshold for all latents, above which --l0 values a row lie."""
    h = sae.process_sae_in(rows) @ sae.W_enc + sae.b_enc
    sae.threshold.fill_(float(h.flatten().kthvalue(h.numel() - arguments.l0 * len(rows)).values))


@torch.no_grad()
def measure(folder, full, sequences, bos, rows_for_threshold=None):
    """Explained variance, L0, and loss recovered with the reconstruction put in (position 0 and BOS keep their rows; ablated: zeros)."""
    sae = SAE.load_from_disk(folder, device="cpu")
    if rows_for_threshold is not None:
        fit_threshold(sae, rows_for_threshold)
    layer = full.model.layers[arguments.layer] if hasattr(full, "model") else full.gpt_neox.layers[arguments.layer]
    error = squares = active = rows = 0.0
    total = 0
    losses = {"clean": 0.0, "spliced": 0.0, "ablated": 0.0}
    n_loss = 0
    state = {}

    def hook(module, inputs, output):
        x = output[0] if isinstance(output, tuple) else output
        if state["mode"] == "clean":
            state["rows"] = x.detach()
            return output
        mask = used(state["ids"], bos).unsqueeze(-1)
        y = torch.where(mask, sae(x) if state["mode"] == "spliced" else torch.zeros_like(x), x)
        return (y, *output[1:]) if isinstance(output, tuple) else y

    handle = layer.register_forward_hook(hook)
    for i in range(len(sequences)):
        ids = sequences[i:i + 1]
        state["ids"], state["mode"] = ids, "clean"
        with_loss = i < arguments.loss_sequences
        logits = full(input_ids=ids, use_cache=False).logits
        x = state["rows"][used(ids, bos)]
        f = sae.encode(x)
        y = sae.decode(f)
        error += float((x - y).double().pow(2).sum())
        squares += float(x.double().pow(2).sum())
        total = total + x.double().sum(0)
        active += float((f != 0).sum())
        rows += len(x)
        if with_loss:
            cross = lambda values: float(torch.nn.functional.cross_entropy(values[0, :-1].float(), ids[0, 1:], reduction="sum"))
            losses["clean"] += cross(logits)
            for mode in ("spliced", "ablated"):
                state["mode"] = mode
                losses[mode] += cross(full(input_ids=ids, use_cache=False).logits)
            n_loss += ids.shape[1] - 1
    handle.remove()
    variance = squares - float(total.pow(2).sum()) / rows
    return {"explained_variance": 1 - error / variance, "l0": active / rows, "loss_recovered": (losses["ablated"] - losses["spliced"]) / (losses["ablated"] - losses["clean"]),
            "clean_loss": losses["clean"] / max(1, n_loss)}


def shown(name, settings, r):
    print(f"{name:14} {settings:56} explained variance {r['explained_variance']:.4f}  L0 {r['l0']:6.2f}  loss recovered {r['loss_recovered']:.4f}  tokens/s {r['tokens_per_second']:.0f}", flush=True)


def main():
    os.makedirs(arguments.work, exist_ok=True)
    # A short training says which sequences pva takes.
    _, record = train_pva(1e-3, arguments.l0, "texts", arguments.batch)
    train, held_out, bos = sequences_of(record)
    full = transformers.AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32, attn_implementation="eager").eval()
    cut = transformers.AutoModel.from_pretrained(arguments.model, dtype=torch.float32, attn_implementation="eager").eval()
    cut.layers = cut.layers[:arguments.layer + 1]
    cut.norm = torch.nn.Identity()
    d = record["saes"][0]["settings"]["d"]
    print(f"SAELens {sae_lens.__version__}, torch {torch.__version__}, {arguments.threads} threads, {arguments.kind}, layer {arguments.layer}, {arguments.latents} latents, L0 {arguments.l0}, "
          f"{steps} steps of {arguments.batch} rows, {len(held_out)} sequences measured", flush=True)
    rows = Rows(cut, train, bos)

    def measured(folder, name, settings, tokens_per_second):
        result = measure(folder, full, held_out, bos)
        result["tokens_per_second"] = tokens_per_second
        shown(name, settings, result)
        if arguments.kind != "batchtopk":
            return result
        fitted = measure(folder, full, held_out, bos, torch.cat(rows.batches[:8]))
        fitted["tokens_per_second"] = tokens_per_second
        shown(name, settings + ", threshold for L0", fitted)
        return fitted

    theirs = []
    for rate in arguments.rate:
        for norm in arguments.initial_norm:
            of_rate = []
            for coefficient in arguments.l0_coefficient if arguments.kind == "jumprelu" else [None]:
                folder, seconds = train_saelens(rows, d, rate, norm, coefficient)
                of_rate.append(measured(folder, "SAELens", f"rate {rate}, initial norm {norm}" + ("" if coefficient is None else f", weight {coefficient}"), steps * arguments.batch / seconds))
            theirs.append(min(of_rate, key=lambda r: abs(r["l0"] - arguments.l0)))
    best = min(theirs, key=lambda r: abs(r["l0"] - arguments.l0)) if arguments.kind == "jumprelu" else max(theirs, key=lambda r: r["explained_variance"])
    target = max(1, round(best["l0"])) if arguments.kind == "jumprelu" else arguments.l0
    ours = []
    for rate in [*arguments.rate, 0]:
        folder, record = train_pva(rate, target, f"pva_{arguments.kind}_{rate}_{target}")
        settings = f"rate {record['saes'][0]['settings']['learning_rate']:.3g}" + (" (its usual one)" if rate == 0 else "") + (f", target {target}" if arguments.kind == "jumprelu" else "")
        result = measured(folder, "pva_train_sae", settings, record["rows_trained"] / record["measured"]["training_seconds"])
        if arguments.kind != "batchtopk":
            own = record["saes"][0]["quality"]["all"]
            assert abs(own["explained_variance"] - result["explained_variance"]) < 1e-3, f"pva's own measure: {own}"
        ours.append(result)
    mine = max(ours, key=lambda r: r["explained_variance"])
    bad = [key for key in ("explained_variance", "loss_recovered") if mine[key] < best[key] - 0.01]
    if max(r["tokens_per_second"] for r in ours) < max(r["tokens_per_second"] for r in theirs):
        bad.append("tokens_per_second")
    print("best of each: " + ", ".join(f"{key} {mine[key]:.4f} and {best[key]:.4f}" for key in ("explained_variance", "loss_recovered")) + ("; WORSE: " + ", ".join(bad) if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
