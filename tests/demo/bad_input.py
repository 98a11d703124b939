#!/usr/bin/env python3
"""Bad input to the real executables: a clear message, the right exit code, nothing lost. Standard library only.

bad_input.py --bin DIR --demo DIR --data DIR   DIR: results of `study.py whole`, read only
"""
import argparse
import glob
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile

parser = argparse.ArgumentParser()
parser.add_argument("--bin", required=True)
parser.add_argument("--worker", required=True, help="kill_worker")
parser.add_argument("--demo", required=True)
parser.add_argument("--data", required=True)
arguments = parser.parse_args()

ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
DEMO = arguments.demo
MODEL, PROBLEMS, SAES, TEXT = (os.path.join(DEMO, name) for name in ("model", "problems.jsonl", "saes", "general_text.jsonl"))
folder = tempfile.mkdtemp(prefix="pva_bad_")
passed, failed, skipped = 0, 0, 0


def run(name, *options, ranks=2):
    command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), name if "/" in name else os.path.join(arguments.bin, name), *options]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    return result.returncode, result.stdout + result.stderr


def expect(title, code, words, name, *options, ranks=2, once=True):
    """Runs and checks exit code, words of the message, and that it is said once."""
    global passed, failed
    got, text = run(name, *options, ranks=ranks)
    missing = [word for word in words if word not in text]
    times = text.count(": error: ")
    if got == code and not missing and (code == 0 or not once or times == 1):
        passed += 1
        print(f"ok      {title}")
    else:
        failed += 1
        print(f"FAILED  {title}: exit code {got} (expected {code}), missing {missing}, said {times} times\n{text[-1500:]}")


def data_with(*folders):
    """A data folder with copies of some of the finished results."""
    path = tempfile.mkdtemp(dir=folder)
    for name in folders:
        shutil.copytree(os.path.join(arguments.data, name), os.path.join(path, name))
    return path


def phase1(data, *options, model=MODEL, problems=PROBLEMS):
    return ("pva_phase1", "--data", data, "--model", model, "--problems", problems, "--max-new-tokens", "16", *options)


def phase2(data, *options, sae=SAES):
    return ("pva_phase2", "--data", data, "--model", MODEL, "--problems", PROBLEMS, "--sae", sae, "--general-text", TEXT, *options)


ends = ["--start", "0", "--end", "3"]

# Options.
expect("unknown option", 64, ["unknown option 'problms'", "--problems"], "pva_phase0", "--problms", PROBLEMS)
expect("option given twice", 64, ["more than once"], "pva_phase0", "--problems", PROBLEMS, "--problems", PROBLEMS)
expect("end before start", 64, ["--end 2 is before --start 5"], *phase1(data_with(), "--start", "5", "--end", "2"))
expect("end beyond the file", 64, ["beyond the last problem"], *phase1(data_with(), "--end", "99999"))

expect("samples that would all be the same", 64, ["3 samples", "temperature 0"], *phase1(data_with(), *ends, "--samples", "3"))
expect("a temperature below what there is", 64, ["--temperature"], *phase1(data_with(), *ends, "--temperature", "-1"))
expect("top-p of nothing", 64, ["top-p"], *phase1(data_with(), *ends, "--temperature", "1", "--top-p", "0"))
expect("stop strings that are no list", 64, ["--stop-strings", "JSON"], *phase1(data_with(), *ends, "--stop-strings", "END"))
expect("a layer that is not there", 64, ["77"], *phase1(data_with(), *ends, "--layers", "0,77"))
expect("layers backwards", 64, ["--layers", "3-1"], *phase1(data_with(), *ends, "--layers", "3-1"))
phase1_2 = ("pva_phase1_2", "--data", data_with("phase0", "phase1_0", "phase1_1"), "--model", MODEL, "--problems", PROBLEMS)
expect("other writing than the greedy dataset's", 65, ["max-new-tokens", "128", "64"], *phase1_2, "--max-new-tokens", "64")
expect("temperature 0 in phase 1.2", 64, ["--temperatures", "phase 1"], *phase1_2, "--max-new-tokens", "128", "--temperatures", "0,0.5")
expect("a temperature twice", 64, ["twice"], *phase1_2, "--max-new-tokens", "128", "--temperatures", "0.5,0.50")
expect("a batch that fits no memory", 65, ["does not fit", "--batch-size"], *phase1(data_with(), "--batch-size", "80000", "--temperature", "1", "--samples", "20000", *ends))

# Problems.
broken = os.path.join(folder, "broken.jsonl")
with open(PROBLEMS) as source, open(broken, "w") as target:
    for number, line in enumerate(source, 1):
        target.write(line[: len(line) // 2] + "\n" if number == 3 else line)
expect("problems file with a broken line", 65, ["broken.jsonl", "3"], "pva_phase0", "--data", data_with(), "--problems", broken)
expect("no problems file", 65, ["nowhere.jsonl"], "pva_phase0", "--data", data_with(), "--problems", os.path.join(folder, "nowhere.jsonl"))

# Models.
expect("no model", 65, ["no_model"], *phase1(data_with(), *ends, model=os.path.join(folder, "no_model")))
cut = os.path.join(folder, "cut_model")
shutil.copytree(MODEL, cut)
weights = os.path.join(cut, "model.safetensors")
os.truncate(weights, os.path.getsize(weights) // 2)
expect("truncated safetensors", 65, ["model.safetensors"], *phase1(data_with(), *ends, model=cut))
small_model = os.path.join(folder, "small_model")
shutil.copytree(MODEL, small_model)
for name, change in (("config.json", lambda text: text.replace('"model_type": "gemma2"', '"model_type": "mamba"')),):
    with open(os.path.join(small_model, name)) as file:
        text = file.read()
    with open(os.path.join(small_model, name), "w") as file:
        file.write(change(text))
expect("another architecture", 65, ["mamba", "config.json", "gemma2"], *phase1(data_with(), *ends, model=small_model))

# SAEs.
def write_npz(path, arrays):
    """A float32 npz without numpy: {name: shape}, all zeros but the thresholds."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, shape in arrays.items():
            head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
            head += " " * (-(10 + len(head) + 1) % 64) + "\n"
            count = 1
            for size in shape:
                count *= size
            archive.writestr(name + ".npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + b"\0" * (4 * count))


wide = os.path.join(folder, "wide")
os.makedirs(os.path.join(wide, "layer_2"))
write_npz(os.path.join(wide, "layer_2", "params.npz"), {"W_enc": (12, 32), "W_dec": (32, 12), "b_enc": (32,), "b_dec": (12,), "threshold": (32,)})
expect("SAE of the wrong width", 65, ["12", "layer"], *phase2(data_with("phase1_0", "phase1_1"), sae=wide))
expect("no SAE", 65, ["nothing_here"], *phase2(data_with("phase1_0", "phase1_1"), sae=os.path.join(folder, "nothing_here")))
expect("no general text", 65, ["general"], "pva_phase2", "--data", data_with("phase1_0", "phase1_1"), "--model", MODEL, "--problems", PROBLEMS, "--sae", SAES,
       "--general-text", os.path.join(folder, "no_text.jsonl"))

# Options of phase 2 that name what is not there; codes and rates are those of the finished study.
ready = data_with("phase1_0", "phase1_1", "phase2")
rates = glob.glob(os.path.join(ready, "phase2", "rates_*.h5"))[0]
for latents in glob.glob(os.path.join(ready, "phase2", "latents_*")):
    os.remove(latents)
expect("a layer without an SAE", 65, ["layer 5", "no SAE for it"], *phase2(ready, "--layers", "2,5"))
expect("a field that no problem has", 65, ["no problem has a field 'author'"], *phase2(ready, "--group-by", "author"))
expect("a field that sorts nothing", 65, ["different values"], *phase2(ready, "--group-by", "task_id"))
expect("permutations within what is no group", 64, ["--permute-within family"], *phase2(ready, "--permute-within", "family"))
expect("q from permutations that are not made", 64, ["--permutations above 0"], *phase2(ready, "--q-from", "permutation", "--permutations", "0"))
expect("rates for another threshold", 65, ["activation threshold"], "pva_phase2", "--data", ready, "--model", MODEL, "--problems", PROBLEMS, "--sae", SAES, "--general-text", rates,
       "--activation-threshold", "0.05")
expect("finished rates instead of a text", 0, ["within difficulty", "label permutations"], "pva_phase2", "--data", ready, "--model", MODEL, "--problems", PROBLEMS, "--sae", SAES,
       "--general-text", rates, "--layers", "3", "--permutations", "50")

# Files that are no input.
not_hdf5 = os.path.join(folder, "text.h5")
with open(not_hdf5, "w") as file:
    file.write("this is no HDF5 file\n")
expect("a text file as dataset", 65, ["not an HDF5 file"], *phase2(data_with("phase1_1"), "--dataset", not_hdf5))
splits = glob.glob(os.path.join(arguments.data, "phase1_1", "splits_*.h5"))[0]
expect("a file of another phase as dataset", 65, ["pva splits", "pva dataset"], *phase2(data_with("phase1_1"), "--dataset", splits))
expect("no dataset", 65, ["pva_phase1"], *phase2(data_with("phase1_1")))

# An unfinished file as input, and what was finished stays: stopped by the time limit, refused, then gone on with.
data = data_with("phase1_1")
expect("stopped by --max-minutes", 75, ["stopped on request", "same command"], *phase1(data, "--max-minutes", "0.001"), once=False)
part = glob.glob(os.path.join(data, "phase1_0", "*.part"))
if len(part) != 1:
    failed += 1
    print("FAILED  no .part is left after a stop")
else:
    expect("an unfinished file as dataset", 65, ["not complete", "units done"], *phase2(data, "--dataset", part[0]))
    expect("unfinished runs are mentioned when no finished one is found", 65, ["unfinished"], *phase2(data))
    expect("other settings are refused by name", 65, ["max-new-tokens: 16 there, 17 here", "--fresh"], *phase1(data)[:-1], "17")

# A part with one class only.
hopeless = os.path.join(folder, "hopeless.jsonl")
with open(PROBLEMS) as source, open(hopeless, "w") as target:
    for number, line in enumerate(source):
        if number < 20:
            problem = json.loads(line)
            problem["test_list"] = ["assert no_such_function_at_all(1) == 2"]
            target.write(json.dumps(problem) + "\n")
hopeless_data = data_with()
expect("phase 0 of unsolvable problems", 0, ["20 problems"], "pva_phase0", "--data", hopeless_data, "--problems", hopeless)
expect("split of them", 0, ["selection"], "pva_phase1_1", "--data", hopeless_data, "--problems", hopeless)
expect("phase 1 of them", 0, ["0 of 20 problems solved"], *phase1(hopeless_data, problems=hopeless))
expect("fewer than two classes in the part", 65, ["0 right", "at least two of each"], "pva_phase2", "--data", hopeless_data, "--model", MODEL, "--problems", hopeless,
       "--sae", SAES, "--general-text", TEXT)

# Latents chosen on another part are no input of phase 3.
tuned = data_with("phase1_0", "phase1_1", "phase2")
expect("phase 2 on the analysis part is descriptive", 0, ["AUROC on analysis"], *phase2(tuned, "--split", "analysis", "--general-tokens", "256"))
described = glob.glob(os.path.join(tuned, "phase2", "latents_*_analysis_*.h5"))
if described:
    expect("phase 3 refuses latents of the analysis part", 65, ["chosen on selection"], "pva_phase3", "--data", tuned, "--model", MODEL, "--problems", PROBLEMS, "--sae", SAES,
           "--latents", described[0])

# Samples of another part than analysis neither.
sampled = data_with("phase1_0", "phase1_1", "phase2")
expect("phase 1.2 on the tuning part", 0, ["pass@1"], "pva_phase1_2", "--data", sampled, "--model", MODEL, "--problems", PROBLEMS,
       "--max-new-tokens", "128", "--part", "tuning", "--temperatures", "0.5", "--samples", "1", "--threads", "1")
tuning_samples = glob.glob(os.path.join(sampled, "phase1_2", "temperatures_*.h5"))
if tuning_samples:
    expect("phase 3 refuses samples of the tuning part", 65, ["its part is", "analysis"], "pva_phase3", "--data", sampled, "--model", MODEL, "--problems", PROBLEMS, "--sae", SAES,
           "--temperatures", tuning_samples[0])

# A full disk: a small tmpfs, which needs the right to mount.
small = os.path.join(folder, "small")
os.makedirs(small)
if os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", small], capture_output=True).returncode == 0:
    try:
        expect("a disk too small at the start", 74, ["are free in", "Nothing was started"], *phase1(small, *ends))
        left = [name for name in os.listdir(os.path.join(small, "phase1_0")) if ".h5" in name]
        expect("the same with more space", 0, ["problems solved"], *phase1(small, *ends)) if subprocess.run(["mount", "-o", "remount,size=200m", small]).returncode == 0 else None
        if left:
            failed += 1
            print(f"FAILED  left on the full disk: {left}")
        # Segments grow while the run goes: the disk fills in the middle, then gets more space.
        subprocess.run(["mount", "-o", "remount,size=4m", small])
        ragged = ("--data", small, "--segments", "--units", "3000", "--milliseconds", "0")
        subprocess.run(["rm", "-rf", os.path.join(small, "phase1_0")])
        expect("a disk that fills up in the middle", 74, ["failed", "same command again"], arguments.worker, *ragged)
        subprocess.run(["mount", "-o", "remount,size=200m", small])
        expect("goes on when there is space again", 0, ["taking up", "units are done"], arguments.worker, *ragged)
    finally:
        subprocess.run(["umount", "-l", small])
else:
    skipped += 4
    print("skipped the full-disk cases: mounting a tmpfs needs root")

shutil.rmtree(folder, ignore_errors=True)
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed else 0)
