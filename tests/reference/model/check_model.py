"""Compares what pva_check computes with Hugging Face transformers (eager attention, no cache), on any model folder.

    pva_check --model FOLDER --tokens ids.json --sites resid_pre,resid_mid,... --generate 20 --dump out.h5
    python tests/reference/model/check_model.py --model FOLDER --dump out.h5 [--dtype float32|bfloat16|float16]
    python tests/reference/model/check_model.py --model FOLDER --loss TEXT.jsonl [--records N] [--max-tokens 512]

The dump holds per sequence i: sequence/i/tokens [T], sequence/i/logits [T, vocab], sequence/i/SITE [layers, T, width] (1 layer for
embedding and final_norm) and sequence/i/generated [N]. Printed per site: the largest norm of a row's difference over the norm of the
row; the largest difference of logits (absolute, relative where |logit| > 10); and the generated tokens that are not transformers'
best after the same tokens, with their distance from it. Exit code 1 when a bound is passed: in float32 2e-5 for sites, 5e-5 for
logits and for the distance of a generated token from the best (twice that much, both logits may be off); in half precision the
differences are printed and bounded only if --site-bound and --logit-bound say so.

--loss prints the mean next-token loss over the records (JSON lines with `text`), each tokenised as the tokenizer does by default, cut
at --max-tokens and run alone: sum over all predicted tokens divided by their number. pva_check --text prints the same figure.
"""

import argparse
import json
import pathlib
import sys

import h5py
import torch
import transformers
from transformers import AutoTokenizer

import hugging_face as hf

UNBOUNDED = (float("inf"), float("inf"))
BOUNDS = {"float32": (2e-5, 5e-5), "bfloat16": UNBOUNDED, "float16": UNBOUNDED}


def compare(model: transformers.PreTrainedModel, dump: pathlib.Path, site_bound: float, logit_bound: float) -> bool:
    worst: dict[str, tuple[float, str]] = {}
    logits_worst, logits_where = -1.0, ""
    generated = other = 0
    other_worst = 0.0

    with h5py.File(dump, "r") as file:
        names = sorted(file["sequence"], key=int)
        kept = json.loads(file.attrs.get("about", "{}")).get("sites", {})
        if not names:
            raise SystemExit(f"{dump}: no sequences")
        for name in names:
            group = file["sequence"][name]
            tokens = group["tokens"][:].tolist()
            logits, sites = hf.run(model, tokens)
            ours = torch.from_numpy(group["logits"][:])
            if ours.shape != logits.shape:
                raise SystemExit(f"{dump}: sequence/{name}/logits has shape {tuple(ours.shape)}, {tuple(logits.shape)} expected")
            off = hf.logit_difference(ours, logits)
            if not off <= logits_worst:
                logits_worst, logits_where = off, f"sequence {name}"
            unknown = set(group) - set(hf.SITES) - {"tokens", "logits", "generated"}
            if unknown:
                raise SystemExit(f"{dump}: sequence/{name} holds unknown datasets {sorted(unknown)}")
            for site in [site for site in hf.SITES if site in group]:
                ours = torch.from_numpy(group[site][:])
                if site not in sites:
                    raise SystemExit(f"{dump}: sequence/{name}/{site} is no site of this family")
                layers = kept.get(site, list(range(len(sites[site]))))
                theirs = sites[site][layers]
                if ours.shape != theirs.shape:
                    raise SystemExit(f"{dump}: sequence/{name}/{site} has shape {tuple(ours.shape)}, {tuple(theirs.shape)} expected")
                for layer, our_rows, their_rows in zip(layers, ours, theirs):
                    off = hf.row_difference(our_rows, their_rows)
                    if site not in worst or not off <= worst[site][0]:
                        worst[site] = (off, f"sequence {name}, layer {layer}")
            if "generated" in group:
                written = group["generated"][:].tolist()
                steps, _ = hf.run(model, tokens + written[:-1], sites=False)
                for token, row in zip(written, steps[len(tokens) - 1:].double()):
                    generated += 1
                    if token != int(row.argmax()):
                        other += 1
                        other_worst = max(other_worst, float(row.max() - row[token]) / max(1.0, float(row.max()) / 10))
    print(f"{len(names)} sequences")
    for site, (off, where) in worst.items():
        print(f"  {site:12} {off:.2e}  ({where})")
    print(f"  {'logits':12} {logits_worst:.2e}  ({logits_where})")
    if generated:
        print(f"  {'generated':12} {other} of {generated} tokens are not the best, furthest from it {other_worst:.2e}")
    # `not <=` also catches NaN.
    bad = not logits_worst <= logit_bound or not other_worst <= 2 * logit_bound
    return not bad and all(off <= site_bound for off, _ in worst.values())


def print_loss(model: transformers.PreTrainedModel, folder: pathlib.Path, text: pathlib.Path, records: int | None, cut: int) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lines = [line for line in text.read_text(encoding="utf-8").splitlines() if line.strip()][:records]
    sequences = [tokenizer(json.loads(line)["text"]).input_ids[:cut] for line in lines]
    loss, predicted = hf.mean_loss(model, sequences)
    print(f"mean loss {loss:.6f} over {predicted} predicted tokens of {len(sequences)} records")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--dump", type=pathlib.Path)
    parser.add_argument("--loss", type=pathlib.Path, metavar="TEXT.jsonl")
    parser.add_argument("--records", type=int, help="only the first N records of the text")
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--dtype", choices=sorted(BOUNDS), default="float32")
    parser.add_argument("--site-bound", type=float)
    parser.add_argument("--logit-bound", type=float)
    arguments = parser.parse_args()
    if not arguments.dump and not arguments.loss:
        parser.error("nothing to do: give --dump or --loss")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    site_bound, logit_bound = BOUNDS[arguments.dtype]
    site_bound = arguments.site_bound if arguments.site_bound is not None else site_bound
    logit_bound = arguments.logit_bound if arguments.logit_bound is not None else logit_bound
    model = hf.load(arguments.model, getattr(torch, arguments.dtype))
    good = True
    if arguments.dump:
        good = compare(model, arguments.dump, site_bound, logit_bound)
        print("within the bounds" if good else "OVER THE BOUNDS", f"(sites {site_bound:g}, logits {logit_bound:g})")
    if arguments.loss:
        print_loss(model, arguments.model, arguments.loss, arguments.records, arguments.max_tokens)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
