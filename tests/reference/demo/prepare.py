"""Tokenizer and training tokens: prepare.py WORK. Writes WORK/tokenizer.model, WORK/train.npz, WORK/spec_texts.json."""
import itertools
import json
import random
import sys

import numpy as np
import sentencepiece as spm

import problems
import words

PROBLEMS, GENERAL, MAX_TOKENS = 52000, 6000, 320


def train_tokenizer(folder, texts):
    # Identity normalisation and the blank and newline symbols keep program text exact; see the model card.
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_prefix=f"{folder}/tokenizer", model_type="bpe", vocab_size=1024,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False,
        split_digits=True, allow_whitespace_only_pieces=True, character_coverage=1.0,
        user_defined_symbols=["\n", "\n\n"] + [" " * n for n in (2, 3, 4, 8, 12, 16)],
        pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>", unk_piece="<unk>",
        num_threads=1, input_sentence_size=0, minloglevel=2)


def main(folder):
    train = list(itertools.islice(problems.stream(11, False), PROBLEMS))
    rng = random.Random(12)
    general = [words.general_text(rng) for _ in range(GENERAL)]
    texts = [problems.prompt(p) + problems.completion(p) for p in train[:6000]] + general[:1500]
    # The trainer takes one sentence a line: newlines are symbols of their own, so nothing is lost by splitting there.
    train_tokenizer(folder, [line for t in texts for line in t.split("\n") if line])
    sp = spm.SentencePieceProcessor(model_file=f"{folder}/tokenizer.model")
    bad = sum(sp.decode(sp.encode(t)) != t for t in texts)
    print("round trip:", len(texts) - bad, "of", len(texts), "exact; pieces", sp.get_piece_size())
    ids, weights, starts = [], [], [0]
    lengths, answers, dropped = [], [], 0

    def add(tokens, weight):
        ids.extend(tokens)
        weights.extend(weight)
        starts.append(len(ids))

    for p in train:
        a = [2] + sp.encode(problems.prompt(p))
        b = sp.encode(problems.completion(p)) + [1]
        if len(a) + len(b) > MAX_TOKENS:
            dropped += 1
            continue
        lengths.append(len(a))
        answers.append(len(b))
        add(a + b, [0.2] * len(a) + [1.0] * len(b))
    for t in general:
        a = ([2] + sp.encode(t) + [1])[:MAX_TOKENS]
        add(a, [0.5] * len(a))
    np.savez(f"{folder}/train.npz", ids=np.array(ids, np.int16), weights=np.array(weights, np.float32), starts=np.array(starts, np.int64))
    with open(f"{folder}/spec_texts.json", "w") as f:
        json.dump({"texts": sorted({p["text"] for p in train}), "prompts": sorted({problems.prompt(p) for p in train})}, f)
    print("problems", len(lengths), "distinct texts", len({p["text"] for p in train}), "dropped as too long", dropped)
    print("prompt tokens median", int(np.median(lengths)), "max", max(lengths), "; answer median", int(np.median(answers)), "max", max(answers))
    print("tokens", len(ids), "of which general", sum(starts[-1] - starts[-1 - GENERAL] for _ in [0]))


if __name__ == "__main__":
    main(sys.argv[1])
