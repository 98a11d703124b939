"""The held-out problems and the general text of the study: study.py WORK OUT. Asserts that no text stands on both sides."""
import itertools
import json
import os
import random
import sys

import evaluate
import problems
import words

# Problems per family and level (1 to 5). Chosen per family and level, never by looking at a single problem's outcome.
# Fresh held-out problems of the distribution trained on are solved to 82 %, some families always: the study therefore
# draws rarer operations and larger constants (problems.Draw.rarity), less of them in the three families that suffer most.
EASY = "digits first_match frequencies loop_branches matrix pairs piecewise range_sum recurrence while_steps".split()
HARD = "list_pipeline slices string_pipeline".split()
COUNTS = {family: (2, 3, 4, 4, 4) if family in EASY else (5, 5, 4, 2, 1) if family in HARD else (4, 4, 3, 3, 3) for family in problems.FAMILIES}
RARITY = {family: (0.5, 1.0) if family in EASY else (0.0, 0.5) if family in HARD else (0.2, 0.9) for family in problems.FAMILIES}
GENERAL = 400


def stream(seed):
    """Endless problems of the training side, in the study's mix of families, levels and rarity."""
    rng = random.Random(seed)
    kinds = [(family, level) for family in sorted(COUNTS) for level, count in enumerate(COUNTS[family], 1) for _ in range(count)]
    for n in itertools.count():
        family, level = rng.choice(kinds)
        p = problems.make(rng, family, level, RARITY[family][n % 2])
        if p is not None and not problems.held_out(p) and len(p["code"]) <= 700:
            yield p


def main(work, out):
    with open(f"{work}/spec_texts.json") as f:
        seen = json.load(f)
    seen_texts, seen_prompts = set(seen["texts"]), set(seen["prompts"])
    for seed, rarity in ((11, 0.0), (42, 0.7)):  # what the SAEs read (saes.py)
        for p in itertools.islice(problems.stream(seed, False, rarity), 8000):
            seen_texts.add(p["text"])
            seen_prompts.add(problems.prompt(p))
    for p in itertools.islice(stream(46), 20000):  # the prompts that the SAEs read at the last token
        seen_texts.add(p["text"])
        seen_prompts.add(problems.prompt(p))
    rng, rows, texts = random.Random(61), [], set()
    for family in sorted(COUNTS):
        missing = 0
        for level, count in enumerate(COUNTS[family], 1):
            count, done = count + missing, 0
            for _ in range(4000):
                if done == count:
                    break
                p = problems.make(rng, family, level, RARITY[family][done % 2])
                if p is None or not problems.held_out(p) or p["text"] in texts or len(p["code"]) > 700:
                    continue
                texts.add(p["text"])
                rows.append(p)
                done += 1
            missing = count - done  # an easy level may have too few distinct tasks: the next one gives them
        if missing:
            raise RuntimeError(f"{family}: {missing} held-out texts too few")
    rng.shuffle(rows)
    assert len({p["text"] for p in rows}) == len(rows)
    assert not {p["text"] for p in rows} & seen_texts, "a held-out text was trained on"
    assert not {problems.prompt(p) for p in rows} & seen_prompts, "a held-out prompt was trained on"
    right = evaluate.grade([p["code"] for p in rows], [p["tests"] for p in rows])
    assert all(right), "a reference fails its own tests"
    os.makedirs(out, exist_ok=True)
    with open(f"{out}/problems.jsonl", "w") as f:
        for i, p in enumerate(rows, 1):
            f.write(json.dumps({"text": p["text"], "code": p["code"], "task_id": i, "test_setup_code": "", "test_list": p["tests"],
                                "challenge_test_list": [], "family": p["family"]}) + "\n")
    with open(f"{work}/levels.json", "w") as f:
        json.dump({i: p["level"] for i, p in enumerate(rows, 1)}, f)
    old = set()
    for seed, count in ((12, 6000), (41, 1500), (44, 300)):  # prepare.py and saes.py
        g = random.Random(seed)
        old |= {words.general_text(g) for _ in range(count)}
    g, new = random.Random(62), []
    while len(new) < GENERAL:
        t = words.general_text(g)
        if t not in old and t not in new:
            new.append(t)
    assert not set(new) & old
    with open(f"{out}/general_text.jsonl", "w") as f:
        for t in new:
            f.write(json.dumps({"text": t}) + "\n")
    print(f"{len(rows)} problems, {len(new)} general texts; no text or prompt on both sides; all references pass")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
