#!/usr/bin/env python3
"""Runs the two blocks of docs/export.md on the results of the demo study: the commands, then the Python that reads what they wrote.

export_example.py --bin DIR --data DIR      exit code 77 (skipped) where numpy is missing
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

parser = argparse.ArgumentParser()
parser.add_argument("--bin", required=True, type=pathlib.Path)
parser.add_argument("--data", required=True, type=pathlib.Path)
arguments = parser.parse_args()
try:
    import numpy  # noqa: F401
except ImportError:
    print("skipped: numpy is missing")
    sys.exit(77)

page = (pathlib.Path(__file__).resolve().parents[2] / "docs/export.md").read_text(encoding="utf-8")
blocks = {kind: re.findall(rf"^```{kind}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL) for kind in ("bash", "python")}
assert all(len(found) == 1 for found in blocks.values()), {kind: len(found) for kind, found in blocks.items()}
with tempfile.TemporaryDirectory(prefix="pva_export_") as folder:
    os.symlink(arguments.data.resolve(), os.path.join(folder, "data"))
    environment = {**os.environ, "PATH": f"{arguments.bin.resolve()}:{os.environ['PATH']}"}
    said = subprocess.run(["bash", "-e", "-c", blocks["bash"][0]], cwd=folder, env=environment, capture_output=True, text=True)
    print(said.stdout + said.stderr)
    assert said.returncode == 0 and said.stderr == "", said.returncode
    assert "layer/latent: " in said.stdout
    said = subprocess.run([sys.executable, "-c", blocks["python"][0]], cwd=folder, capture_output=True, text=True)
    print(said.stdout + said.stderr)
    assert said.returncode == 0 and len(said.stdout.splitlines()) > 4

    # On two ranks one works; on standard output is nothing but the table.
    validation = sorted((arguments.data / "phase3").glob("validation_*.h5"))[-1]
    command = [str(arguments.bin.resolve() / "pva_export"), str(validation.resolve()), "--table", "row"]
    alone = subprocess.run(command, capture_output=True, cwd=folder)
    both = subprocess.run(["mpirun", "--oversubscribe", "-n", "2", *command], capture_output=True, cwd=folder)
    assert alone.returncode == both.returncode == 0 and alone.stdout == both.stdout and alone.stdout.startswith(b"task_id,part,passed\n"), both
    assert sorted(os.listdir(folder)) == ["data", "detectors.csv", "latents.csv", "programs.jsonl", "residual.npz"], os.listdir(folder)

    # Exit codes.
    for words, code in ((["--table", "row"], 64), ([str(validation.resolve()), "--table", "nothing"], 64), ([str(validation.resolve()), "--table", "row", "--format", "xlsx"], 64),
                        (["missing.h5", "--table", "row"], 65), ([str(validation.resolve()), "--table", "row", "--output", "/proc/x/y.csv"], 74)):
        said = subprocess.run([command[0], *words], capture_output=True, text=True, cwd=folder)
        assert said.returncode == code and said.stderr.startswith("pva_export: error: ") and said.stdout == "", (words, said)
print("good")
