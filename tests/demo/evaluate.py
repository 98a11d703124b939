#!/usr/bin/env python3
"""pva_evaluate through the real executable: verdicts and figures, any number of ranks, kills, bad input, a dataset scored again.
Standard library only.

evaluate.py --bin DIR --demo DIR --data DIR   DIR: results of `study.py whole`, read only
"""
import argparse
import glob
import gzip
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("--bin", required=True)
parser.add_argument("--demo", required=True)
parser.add_argument("--data", required=True)
arguments = parser.parse_args()

ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
DEMO_PROBLEMS = os.path.join(arguments.demo, "problems.jsonl")
FIELDS = ["task_id", "index", "verdict", "passed", "asserts_passed", "asserts_total", "suspicious", "wall_seconds", "detail"]
folder = tempfile.mkdtemp(prefix="pva_evaluate_")
passed, failed = 0, 0


def path(name):
    return os.path.join(folder, name)


def check(title, good, more=""):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(("ok      " if good else "FAILED  ") + title + ("" if good else f"\n{more}"), flush=True)


def command(*options, ranks=2):
    return ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), os.path.join(arguments.bin, "pva_evaluate"), *options]


def run(*options, ranks=2):
    result = subprocess.run(command(*options, ranks=ranks), capture_output=True, text=True, env=ENVIRONMENT, timeout=600)
    return result.returncode, result.stdout + result.stderr


def expect(title, code, words, *options):
    got, text = run(*options)
    check(title, got == code and all(word in text for word in words) and text.count(": error: ") == 1, f"exit code {got}\n{text[-1500:]}")


def write_lines(name, rows):
    with open(path(name), "w") as file:
        file.writelines((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    return path(name)


def read_lines(name):
    with open(path(name)) as file:
        return [json.loads(line) for line in file]


def without_times(rows):
    return [{key: value for key, value in row.items() if key != "wall_seconds"} for row in rows]


# Two kinds of problems and programs whose verdicts are known.
problems = write_lines("problems.jsonl", [
    {"task_id": f"Small/{i}", "prompt": f"import math\n\ndef f{i}(x):\n    \"\"\"Adds {i}.\"\"\"\n", "canonical_solution": f"    return x + {i}\n",
     "test": f"def check(candidate):\n    assert candidate(1) == {1 + i}\n    assert candidate(2) == {2 + i}\n", "entry_point": f"f{i}"}
    for i in range(8)])
KINDS = [
    ("passed", 2, "    return x + {i}\n"),
    ("passed", 2, "    return math.floor(x) + {i}\n"),
    ("wrong", 1, "    return 1 + {i}\n"),
    ("syntax", 0, "    retrun 1\n"),
    ("name", 0, "    return undefined_name\n"),
    ("type", 0, "    return x + 'a'\n"),
    ("runtime", 0, "    return 1 // 0\n"),
    ("early_exit", 0, "    import os\n    os._exit(0)\n"),
    ("wrong", 0, "    return object()\n"),
    ("wrong", 0, "    assert False, 'no'\n"),
]
rows, wanted = [], []
for sample in range(12):
    for i in range(8):
        kind = KINDS[(sample * 7 + i * 3 + sample // 5) % len(KINDS)]
        rows.append({"task_id": f"Small/{i}" if sample % 2 else i, "completion": kind[2].format(i=i)})
        wanted.append((f"Small/{i}", sample, kind[0], kind[1]))
completions = write_lines("samples.jsonl", rows)
with open(completions, "rb") as plain, gzip.open(path("samples.jsonl.gz"), "wb") as packed:
    packed.write(plain.read())

options = ["--problems", problems, "--completions", completions, "--data", path("one"), "--out", path("one.jsonl"), "--json", path("one.json")]
code, text = run(*options, ranks=1)
check("one rank ends with 0", code == 0, text)
one = read_lines("one.jsonl")
check("every completion has its line, in the order of the input", [(row["task_id"], row["index"]) for row in one] == [w[:2] for w in wanted])
check("verdicts are those of the programs", [row["verdict"] for row in one] == [w[2] for w in wanted],
      [(row, w) for row, w in zip(one, wanted) if row["verdict"] != w[2]][:3])
check("asserts are counted one by one", [row["asserts_passed"] for row in one] == [w[3] for w in wanted] and all(row["asserts_total"] == 2 for row in one))
check("fields and their order", all(list(row) == FIELDS for row in one), one[:1])
check("passed says the same as the verdict", all(row["passed"] == (row["verdict"] == "passed") for row in one))
check("no detail for a pass, some for a failure", all((row["detail"] == "") == row["passed"] for row in one), [row for row in one if (row["detail"] == "") != row["passed"]][:3])

with open(path("one.json")) as file:
    summary = json.load(file)["summary"]
counts = {}
for row in one:
    counts.setdefault(row["task_id"], []).append(row["passed"])
for k in (1, 10):
    mean = sum(1 - math.comb(len(c) - sum(c), k) / math.comb(len(c), k) for c in counts.values()) / len(counts)
    got = summary["pass_at_k"][str(k)]
    check(f"pass@{k} is the unbiased estimate", abs(got["mean"] - mean) < 1e-12 and got["lower"] <= got["mean"] <= got["upper"], (got, mean))
check("pass@100 of 12 samples is not guessed", "100" not in summary["pass_at_k"] and "too few for pass@100" in text, text[-800:])
check("the table of verdicts is printed", all(word in text for word in ("verdict", "early_exit", "pass@10")))

code, text = run("--problems", problems, "--completions", path("samples.jsonl.gz"), "--data", path("three"), "--out", path("three.jsonl"), "--json", path("three.json"),
                 "--test-workers", "2", ranks=3)
check("three ranks with two workers each end with 0", code == 0, text)
check("the same lines with 1 and 3 ranks", without_times(read_lines("three.jsonl")) == without_times(one))
with open(path("three.json")) as file:
    check("the same figures with 1 and 3 ranks", json.load(file)["summary"] == summary)

# The same command computes nothing and writes the lines again, times included.
os.remove(path("one.jsonl"))
code, text = run(*options, ranks=2)
check("a finished run is not repeated", code == 0 and read_lines("one.jsonl") == one, text)

# Killed without mercy, then the same command.
slow = write_lines("slow.jsonl", [{"task_id": i % 8, "completion": f"    import time\n    time.sleep(0.2)\n    return x + {i % 8 + (i % 3 == 0)}\n"} for i in range(120)])
options = ["--problems", problems, "--completions", slow, "--data", path("killed"), "--out", path("killed.jsonl")]
process = subprocess.Popen(command(*options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT, start_new_session=True)
deadline = time.time() + 120
while time.time() < deadline and process.poll() is None:
    if glob.glob(os.path.join(path("killed"), "evaluate", "*.part")):
        time.sleep(4)
        break
    time.sleep(0.1)
if process.poll() is None:
    os.killpg(process.pid, signal.SIGKILL)
process.wait()
check("a kill leaves the unfinished file and no lines", len(glob.glob(os.path.join(path("killed"), "evaluate", "*.part"))) == 1 and not os.path.exists(path("killed.jsonl")))
code, text = run(*options, ranks=3)
rows = read_lines("killed.jsonl") if code == 0 else []
check("the same command goes on after a kill", code == 0 and [row["passed"] for row in rows] == [i % 3 != 0 for i in range(120)], text)
stored = re.search(r"taking up .*: (\d+) of 120 units are done", text)
check("and takes up what was stored", stored and 0 < int(stored[1]) < 120, text)
check("what passed before counts in the progress", "120/120 completions (100.0 %)" in text and ", 80 passed" in text, text)

# Whole programs and raw answers.
answer = "Sure! Let's do it:\n```python\nimport math\n\ndef f3(x):\n    return math.floor(x) + 3\n\nprint(f3(1))\nif __name__ == '__main__':\n    input()\n```\nDone (f3 is short.\n"
mixed = write_lines("mixed.jsonl", [{"task_id": "Small/3", "completion": answer}, {"task_id": "Small/3", "code": "def f3(x):\n    return x + 3\n"},
                                    {"task_id": "Small/3", "solution": "def f3(x):\n    return x\n"}])
code, text = run("--problems", problems, "--completions", mixed, "--data", path("raw"), "--out", path("raw.jsonl"), "--extract", "complete-program")
check("raw answers by --extract", code == 0 and [row["passed"] for row in read_lines("raw.jsonl")] == [True, True, False], text)
check("problems without a completion are said", "7 problems have no completion" in text, text)
code, text = run("--problems", problems, "--completions", mixed, "--data", path("raw"), "--out", path("raw.jsonl"))
check("without it a raw answer is no program", code == 0 and [row["verdict"] for row in read_lines("raw.jsonl")] == ["syntax", "passed", "wrong"], text)

# Bad input.
good = {"task_id": 1, "completion": "    return x\n"}


def bad(title, line, *words):
    file = write_lines("bad.jsonl", [good, "", line])
    expect(title, 65, ["bad.jsonl, line 3", *words], "--problems", problems, "--completions", file, "--data", path("bad"), "--out", path("bad_out.jsonl"))


bad("a broken line", '{"task_id": 1, "compl', "not valid JSON")
bad("an unknown problem", {"task_id": "Small/99", "completion": "x"}, "Small/99", "Small/0")
bad("no program", {"task_id": 1}, "holds no program", "completion")
bad("two programs", {"task_id": 1, "code": "x", "completion": "x"}, "both")
base = ("--problems", problems, "--data", path("bad"))
expect("no completions file", 65, ["nowhere.jsonl"], *base, "--completions", path("nowhere.jsonl"), "--out", path("bad_out.jsonl"))
expect("neither completions nor dataset", 64, ["--completions is missing", "--rescore"], *base, "--out", path("bad_out.jsonl"))
expect("both", 64, ["exclude each other"], *base, "--completions", completions, "--rescore", "--out", path("bad_out.jsonl"))
expect("a folder for --out that is not there", 64, ["no folder"], *base, "--completions", completions, "--out", path("no/such/out.jsonl"))
expect("no dataset to score again", 65, ["pva_phase1"], *base, "--rescore", "--out", path("bad_out.jsonl"))
check("nothing was written for bad input", not os.path.exists(path("bad_out.jsonl")) and not glob.glob(os.path.join(path("bad"), "evaluate", "*")))
code, text = run(*base, "--completions", completions, "--out", path("dry.jsonl"), "--dry-run")
check("a dry run writes nothing", code == 0 and "96 completions would be worked through" in text and not os.path.exists(path("dry.jsonl")), text)

# The demo study's programs once more: the same verdicts.
dataset = glob.glob(os.path.join(arguments.data, "phase1_0", "dataset_*.h5"))
check("there is a dataset to score again", len(dataset) == 1, dataset)
for name, more in (("stored", []), ("extracted", ["--extract", "complete-program"])):
    code, text = run("--problems", DEMO_PROBLEMS, "--dataset", dataset[0], "--rescore", "--data", path("again"), "--out", path(name + ".jsonl"), "--json", path(name + ".json"), *more)
    if code != 0:
        check(f"the dataset's {name} programs are scored again", False, text)
        continue
    with open(path(name + ".json")) as file:
        summary = json.load(file)["summary"]
    lines = read_lines(name + ".jsonl")
    check(f"the dataset's {name} programs get the same verdicts", summary["changed_verdicts"] == 0 and f"0 of {len(lines)} verdicts changed" in text and
          all(row["previous_verdict"] == row["verdict"] for row in lines) and any(row["passed"] for row in lines), text[-1500:])
code, text = run("--problems", DEMO_PROBLEMS, "--dataset", dataset[0], "--rescore", "--data", path("again"), "--out", path("short.jsonl"), "--json", path("short.json"),
                 "--extract", "reference")
with open(path("short.json")) as file:
    summary = json.load(file)["summary"]
lines = read_lines("short.jsonl")
changed = sum(row["previous_verdict"] != row["verdict"] for row in lines)
check("changed verdicts are counted", code == 0 and summary["changed_verdicts"] == changed == sum(summary["changes"].values()), text[-1500:])
print(f"the reference rule changes {changed} of {len(lines)} verdicts of the demo study")

shutil.rmtree(folder)
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
