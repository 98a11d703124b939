#!/usr/bin/env python3
"""--version, --help, --man and --completion of every executable, and completion as bash does it. Standard library only.

command_line_test.py --source CHECKOUT --bin DIR      groff checks the manual pages where it is installed
"""
import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

parser = argparse.ArgumentParser()
parser.add_argument("--source", required=True)
parser.add_argument("--bin", required=True)
arguments = parser.parse_args()
arguments.source, arguments.bin = os.path.abspath(arguments.source), os.path.abspath(arguments.bin)
failures = 0


def check(condition, message):
    global failures
    if not condition:
        failures += 1
        print("FAILED:", message)


def said(*command, text=None):
    result = subprocess.run(command, capture_output=True, text=True, input=text, timeout=120)
    check(result.returncode == 0 and result.stderr == "", f"{' '.join(command)} ended with {result.returncode}: {result.stderr}")
    return result.stdout


names = sorted(os.path.basename(path)[:-4] for path in glob.glob(os.path.join(arguments.source, "src/apps/pva_*.cpp")))
check(len(names) >= 10, f"executables: {names}")
groff = shutil.which("groff")
for name in names:
    program = os.path.join(arguments.bin, name)
    version = said(program, "--version")
    pattern = (rf"{name} \d+\.\d+\.\d+ \(([0-9a-f]{{12}}(-modified)?|unknown), \w+, \w+ [\d.]+\)\n"
               r"compiler    \w+ [\d.]+, C\+\+20, \w+, .*-ffp-contract=off.*\nsystem      \S+ \S+\n"
               r"libraries   HDF5 [\d.]+, MPI \S.*, libtorch [\d.]+.*\nbuilt with  Boost [\d.]+, .*PCRE2 [\d.]+.*OpenSSL [\d.]+.*\n")
    check(re.fullmatch(pattern, version), f"{name} --version:\n{version}")
    page = said(program, "--man")
    check(f".SH NAME\n{name} " in page and "\\fB\\-\\-log\\-level\\fR" in page, f"{name} --man: {page[:300]}")
    if groff:
        result = subprocess.run([groff, "-man", "-Tascii", "-ww"], input=page, capture_output=True, text=True)
        check(result.returncode == 0 and result.stderr == "", f"{name} --man: groff says {result.stderr}")
        flat = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", result.stdout)
        check("EXIT STATUS" in flat and "--help" in flat, f"{name} --man:\n{flat[:500]}")
if not groff:
    print("groff is not installed: the manual pages are not set")

# Completion, asked as readline asks it; one shell for all questions, as users have it. Words of a question are separated by tabs.
ASK = r"""
cd "$WHERE" && source "$SOURCE/jobs/local/completion.bash" && export PVA_BIN="$BIN"
while IFS= read -r question; do
    mapfile -t -d $'\t' COMP_WORDS < <(printf '%s' "$question")
    [[ $question != *$'\t' ]] || COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}
    handler=$(complete -p "${COMP_WORDS[0]##*/}" | sed 's/.*-F \([^ ]*\).*/\1/')
    "$handler"
    (IFS=$'\t'; printf '%s\n' "${COMPREPLY[*]}")
done
"""
where = tempfile.mkdtemp(prefix="pva_completion_")
os.makedirs(os.path.join(where, "models", "a b"))
open(os.path.join(where, "mbpp.jsonl"), "w").close()
questions = []
program = os.path.join(arguments.bin, "pva_phase1")
for words, wanted in [
        (("pva_phase1", "--mod"), ["--model"]),
        ((program, "--mod"), ["--model"]),
        (("mpirun", "-n", "2", program, "--te"), ["--temperature", "--test-seconds", "--test-memory-mb", "--test-workers"]),
        (("mpirun", "-n", "2", program, "--temperature", "0.5", "--temp"), []),
        (("sbatch", "--time=10", "jobs/slurm/phase2.sh", "--general-te"), ["--general-text"]),
        (("srun", "pva_phase3", "--cand"), ["--candidates"]),
        (("pva_phase1", "--device", ""), ["auto", "cpu", "cuda"]),
        (("pva_phase1", "--device", "=", "c"), ["cpu", "cuda"]),
        (("pva_phase1", "--device", "="), ["auto", "cpu", "cuda"]),
        (("pva_phase1", "--problems", "m"), ["mbpp.jsonl", "models"]),
        (("pva_phase1", "--data", "m"), ["models"]),
        (("pva_phase1", "--model", "models/"), ["models/a b"]),
        (("pva_phase1", "--samples", ""), []),
        (("pva_iocheck", "m"), ["models"]),
        (("pva_merge", "--completion", ""), ["bash"]),
        (("mpirun", "-n", "2", ""), [])]:
    questions.append((words, wanted))
every = re.findall(r"^  (--[a-z0-9-]+)", said(program, "--help"), re.MULTILINE)
check(len(every) > 30 and "--man" in every, f"pva_phase1 --help: {every}")
questions.append((("pva_phase1", ""), every))
result = subprocess.run(["bash", "--noprofile", "--norc", "-c", ASK], capture_output=True, text=True, timeout=120, input="".join("\t".join(words) + "\n" for words, _ in questions),
                        env={**os.environ, "SOURCE": arguments.source, "BIN": arguments.bin, "WHERE": where})
check(result.returncode == 0 and result.stderr == "", f"completion: {result.stderr}")
answers = result.stdout.split("\n")[:-1]
check(len(answers) == len(questions), f"{len(answers)} answers to {len(questions)} questions")
for (words, wanted), answer in zip(questions, answers):
    got = [word for word in answer.split("\t") if word]
    check(sorted(got) == sorted(wanted), f"{' '.join(words)}<TAB> offers {got}, wanted {wanted}")
shutil.rmtree(where)
print(f"{len(names)} executables, {failures} failures")
sys.exit(1 if failures else 0)
