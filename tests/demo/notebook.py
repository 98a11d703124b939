#!/usr/bin/env python3
"""Runs every cell of a notebook of docs/notebooks on the demo results.

notebook.py --notebook FILE --data DIR     77 (skipped) where nbclient, ipykernel, h5py, numpy or matplotlib are missing

It looks for them in the interpreter's own packages and in ~/.cache/pva/notebook-packages, where `tests/run.sh --long` puts them.
"""
import argparse
import os
import pathlib
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--notebook", required=True)
parser.add_argument("--data", required=True)
arguments = parser.parse_args()

packages = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "pva", "notebook-packages")
if os.path.isdir(packages):
    sys.path.insert(0, packages)
    # The kernel is another process of the same interpreter.
    os.environ["PYTHONPATH"] = os.pathsep.join([packages] + [p for p in [os.environ.get("PYTHONPATH")] if p])
    os.environ["JUPYTER_PATH"] = os.path.join(packages, "share", "jupyter")
try:
    import h5py  # noqa: F401
    import ipykernel  # noqa: F401
    import matplotlib  # noqa: F401
    import nbclient
    import nbformat
except ImportError as missing:
    print(f"skipped: {missing}; the notebook needs nbclient, ipykernel, h5py, numpy and matplotlib")
    sys.exit(77)

os.environ["PVA_DATA"] = os.path.abspath(arguments.data)
os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
notebook = nbformat.read(arguments.notebook, as_version=4)
nbformat.validate(notebook)
for cell in notebook.cells:
    assert not cell.get("outputs"), "the notebook is kept without outputs: they would be those of another machine"
nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(pathlib.Path(arguments.notebook).parent)}}).execute()
pictures = 0
for cell in notebook.cells:
    for output in cell.get("outputs", []):
        assert output.output_type != "error", output
        if output.output_type == "stream":
            print(output.text, end="")
        pictures += "image/png" in output.get("data", {})
assert pictures >= 1, "the notebook drew nothing"
print("every cell ran;", pictures, "picture")
