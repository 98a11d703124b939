"""Greedy answers to problems and their outcomes: evaluate.py MODEL TOKENIZER PROBLEMS.jsonl|--fresh N [--out FILE]."""
import argparse
import collections
import json
import multiprocessing
import random
import signal

import problems


def passes(job):
    """True when the program defines what the tests need and all asserts hold within two seconds."""
    code, tests = job

    def stop(*_):
        raise TimeoutError
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(2)
    try:
        space = {}
        exec(code, space)
        for test in tests:
            exec(test, space)
        return True
    except BaseException:
        return False
    finally:
        signal.alarm(0)


def grade(codes, tests):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.map(passes, list(zip(codes, tests)), chunksize=64)


def fresh(count, seed, rarity=0.0):
    """Held-out problems, evenly over families, levels as in training; no text twice."""
    rng, out, texts = random.Random(seed), [], set()
    families = sorted(problems.FAMILIES)
    while len(out) < count:
        p = problems.make(rng, families[len(out) % len(families)], rarity=rarity)
        if p is not None and problems.held_out(p) and p["text"] not in texts:
            texts.add(p["text"])
            out.append(p)
    return out


def main():
    import sentencepiece as spm
    import torch

    import model as demo
    a = argparse.ArgumentParser()
    a.add_argument("model")
    a.add_argument("tokenizer")
    a.add_argument("problems", nargs="?")
    a.add_argument("--fresh", type=int)
    a.add_argument("--seed", type=int, default=31)
    a.add_argument("--rarity", type=float, default=0.0)
    a.add_argument("--out")
    a.add_argument("--levels", help="JSON {task_id: level}, for the table only")
    a.add_argument("--threads", type=int, default=1)
    a.add_argument("--show", type=int, default=0)
    args = a.parse_args()
    torch.set_num_threads(args.threads)
    ps = fresh(args.fresh, args.seed, args.rarity) if args.fresh else [json.loads(line) for line in open(args.problems)]
    if args.levels:
        with open(args.levels) as f:
            level = json.load(f)
        for p in ps:
            p["level"] = level[str(p["task_id"])]
    sp = spm.SentencePieceProcessor(model_file=args.tokenizer)
    net = demo.load(args.model)
    answers = demo.generate(net, [[2] + sp.encode(problems.prompt(p)) for p in ps], max_new=200)
    codes = [sp.decode(x) for x in answers]
    right = grade(codes, [p.get("tests") or p["test_list"] for p in ps])
    print(f"solved {sum(right)} of {len(ps)} = {sum(right) / len(ps):.3f}; answer tokens mean {sum(map(len, answers)) / len(ps):.1f} max {max(map(len, answers))}")
    table = collections.defaultdict(list)
    for p, ok in zip(ps, right):
        table[p["family"]].append((p.get("level", 0), ok))
    levels = collections.defaultdict(list)
    for family, rows in sorted(table.items()):
        per = []
        for level in sorted({l for l, _ in rows}):
            v = [ok for l, ok in rows if l == level]
            levels[level] += v
            per.append(f"L{level} {sum(v)}/{len(v)}")
        print(f"  {family:16s} {sum(ok for _, ok in rows)}/{len(rows)}  " + "  ".join(per))
    print("  levels: " + "  ".join(f"L{l} {sum(v) / len(v):.2f} ({len(v)})" for l, v in sorted(levels.items())))
    wrong = [i for i, ok in enumerate(right) if not ok]
    for i in wrong[:args.show]:
        print("=====", ps[i]["family"], "\n" + problems.prompt(ps[i]) + codes[i] + "--- reference\n" + ps[i]["code"])
    if args.out:
        with open(args.out, "w") as f:
            for p, ok, code in zip(ps, right, codes):
                f.write(json.dumps(dict(p, passed=bool(ok), answer=code)) + "\n")


if __name__ == "__main__":
    main()
