"""Runs the Python example of every page in docs/formats on a real result file.

    python tests/reference/run_format_examples.py --results DIR

DIR is a data folder with phase0, phase1_0, phase1_1, phase1_2, phase2, phase3, evaluate, a dump check/check_*.h5 and codes codes/codes_*.h5; of each the newest finished file is taken. The
example of common.md is run on one file of every type but the dump and the codes. Needs h5py and numpy; where they are missing it says so and exits
with 77 (skipped). Exit code 1 when an example fails, has no file to run on, or a page has no example.
"""

import argparse
import pathlib
import re
import subprocess
import sys

FOLDERS = {
    "difficulty": "phase0",
    "dataset": "phase1_0",
    "activations": "phase1_0",
    "splits": "phase1_1",
    "temperatures": "phase1_2",
    "sparse": "phase2",
    "rates": "phase2",
    "latents": "phase2",
    "validation": "phase3",
    "stages": "phase3",
    "check": "check",
    "codes": "codes",
    "verdicts": "evaluate",
}
PAGES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "formats"


def example(page):
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if len(blocks) != 1:
        raise ValueError(f"{len(blocks)} python blocks instead of one")
    if not blocks[0].startswith("import sys, h5py\n"):
        raise ValueError("the example does not begin with `import sys, h5py`")
    return blocks[0]


def newest(results, prefix):
    # The time ends the name, so it decides among models and ranges too.
    found = sorted((results / FOLDERS[prefix]).glob(f"{prefix}_*.h5"), key=lambda path: path.stem[-19:])
    return found[-1] if found else None


def main():
    parser = argparse.ArgumentParser(description="Runs the examples of docs/formats on result files.")
    parser.add_argument("--results", required=True, type=pathlib.Path, metavar="DIR", help="data folder with phase0, phase1_0, ...")
    parser.add_argument("--verbose", action="store_true", help="show what the examples print")
    options = parser.parse_args()
    try:
        import h5py  # noqa: F401
        import numpy  # noqa: F401
    except ImportError as missing:
        print(f"skipped: {missing}; the examples need h5py and numpy")
        return 77

    pages = {page.stem for page in PAGES.glob("*.md")}
    runs = [(prefix, prefix) for prefix in FOLDERS] + [("common", prefix) for prefix in FOLDERS if prefix not in ("check", "codes")]
    passed = failed = 0
    for name in sorted(pages - set(FOLDERS) - {"common"}):
        failed += 1
        print(f"FAILED {name}.md: this script does not know which file belongs to it")
    for page, prefix in runs:
        file = newest(options.results, prefix)
        try:
            if file is None:
                raise ValueError(f"no finished {prefix}_*.h5 in {options.results / FOLDERS[prefix]}")
            code = example(PAGES / f"{page}.md")
        except (OSError, ValueError) as problem:
            failed += 1
            print(f"FAILED {page}.md on {prefix}: {problem}")
            continue
        result = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=300)
        if result.returncode == 0 and result.stdout.strip():
            passed += 1
            print(f"passed {page}.md on {file.name}")
            if options.verbose:
                print(result.stdout)
        else:
            failed += 1
            print(f"FAILED {page}.md on {file.name}\n{result.stdout}{result.stderr or 'it printed nothing'}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
