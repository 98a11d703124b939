#!/usr/bin/env python3
"""Collects Python sources and documentation of Debian packages as text to train SAEs on.

    collect_text.py OUT [--debs DIR] [--code BYTES] [--documentation BYTES]

Packages are downloaded by apt-get (none is installed) into DIR and unpacked there; ones that are there already are not fetched again.
OUT gets code.jsonl, documentation.jsonl (one {"text", "source", "package"} a line), and licences.tsv: each package with its version,
the licences that its copyright file names, and how much was taken. The text itself stays outside the project: it is its authors', under
these licences. Files are taken package by package in turn, in an order drawn by their hash, until so many bytes are there. Files that are
not UTF-8, shorter than 200 or longer than 200,000 characters, machine-made (lines of over 400 characters on average) or met before are
left out. Python's standard library and apt only.
"""
import argparse
import collections
import glob
import hashlib
import html.parser
import json
import os
import re
import subprocess
import sys

CODE = ["libpython3.11-stdlib", "python3-django", "python3-networkx", "python3-sympy", "python3-numpy", "python3-scipy", "python3-pandas", "python3-twisted", "python3-flask", "python3-requests",
        "python3-jinja2", "python3-click", "python3-sphinx"]
# Where the copyright file is that of another package or has no fields to read.
KNOWN = {"libpython3.11-stdlib": "PSF-2.0 (Python)", "python3.11-doc": "PSF-2.0 (Python)", "python3-jinja2": "BSD-3-clause"}
DOCUMENTATION = ["python3.11-doc", "debian-policy", "developers-reference", "debian-reference-en", "git-doc", "postgresql-doc-15", "python-django-doc"]


class PlainText(html.parser.HTMLParser):
    """The words of a page: no scripts, no navigation, line ends where blocks end; <pre> as it stands."""
    SKIPPED = {"script", "style", "nav", "head", "footer"}
    BLOCKS = {"p", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "dt", "dd", "pre", "br", "table", "section"}

    def __init__(self):
        super().__init__()
        self.parts, self.skipped, self.pre = [], 0, 0

    def handle_starttag(self, tag, attributes):
        self.skipped += tag in self.SKIPPED
        self.pre += tag == "pre"
        if tag in self.BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag):
        self.skipped -= tag in self.SKIPPED
        self.pre -= tag == "pre"
        if tag in self.BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data):
        if not self.skipped:
            self.parts.append(data if self.pre else re.sub(r"\s+", " ", data))

    def text(self):
        text = re.sub(r"[ \t]+\n", "\n", "".join(self.parts))
        return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def unpacked(package, debs):
    """The folder of the package's files and its version."""
    found = sorted(glob.glob(os.path.join(debs, package + "_*.deb")))
    if not found:
        subprocess.run(["apt-get", "download", "-qq", package], cwd=debs, check=True)
        found = sorted(glob.glob(os.path.join(debs, package + "_*.deb")))
    folder = found[-1][:-4]
    if not os.path.isdir(folder):
        subprocess.run(["dpkg-deb", "-x", found[-1], folder + ".part"], check=True)
        os.rename(folder + ".part", folder)
    version = subprocess.run(["dpkg-deb", "-f", found[-1], "Version"], capture_output=True, text=True, check=True).stdout.strip()
    return folder, version


def licences(folder):
    """Short names of the licences that the copyright file names."""
    names = set()
    for path in glob.glob(os.path.join(folder, "usr/share/doc/*/copyright")):
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                match = re.match(r"License:\s*(\S.*)", line)
                if match:
                    names.add(match.group(1).strip())
    return "; ".join(sorted(names)) or "see the copyright file"


def files_of(folder, endings):
    """Regular files with one of the endings, in the order of the hash of their path."""
    found = []
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in ("__pycache__", "_static")]
        for name in names:
            path = os.path.join(at, name)
            if name.endswith(endings) and os.path.isfile(path) and not os.path.islink(path):
                found.append(os.path.relpath(path, folder))
    return sorted(found, key=lambda path: hashlib.sha256(path.encode()).hexdigest())


def read(path):
    """Its text, or nothing where it is of no use."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except UnicodeDecodeError:
        return None
    if path.endswith((".html", ".htm")):
        parser = PlainText()
        parser.feed(text)
        text = parser.text()
    if not 200 <= len(text) <= 200_000 or len(text) > 400 * (text.count("\n") + 1):
        return None
    return text


def collect(packages, endings, wanted, debs, out, table):
    folders = {package: unpacked(package, debs) for package in packages}
    waiting = {package: collections.deque(files_of(folders[package][0], endings)) for package in packages}
    taken, counts, seen, total = {package: 0 for package in packages}, collections.Counter(), set(), 0
    with open(out + ".part", "w", encoding="utf-8") as file:
        while total < wanted and any(waiting.values()):
            # The package that has given least so far.
            package = min((p for p in packages if waiting[p]), key=lambda p: taken[p])
            path = waiting[package].popleft()
            text = read(os.path.join(folders[package][0], path))
            if text is None:
                continue
            digest = hashlib.sha256(text.encode()).digest()
            if digest in seen:
                continue
            seen.add(digest)
            file.write(json.dumps({"text": text, "source": path, "package": package}, ensure_ascii=False) + "\n")
            taken[package] += len(text.encode())
            total += len(text.encode())
            counts[package] += 1
    os.rename(out + ".part", out)
    for package in packages:
        folder, version = folders[package]
        table.append([package, version, KNOWN.get(package) or licences(folder), str(counts[package]), str(taken[package])])
    return total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--debs")
    parser.add_argument("--code", type=int, default=6_000_000)
    parser.add_argument("--documentation", type=int, default=5_000_000)
    arguments = parser.parse_args()
    debs = os.path.abspath(arguments.debs or os.path.join(arguments.out, "packages"))
    os.makedirs(debs, exist_ok=True)
    table = [["package", "version", "licences", "files", "bytes"]]
    code = collect(CODE, (".py",), arguments.code, debs, os.path.join(arguments.out, "code.jsonl"), table)
    documentation = collect(DOCUMENTATION, (".html", ".txt", ".md", ".rst"), arguments.documentation, debs, os.path.join(arguments.out, "documentation.jsonl"), table)
    with open(os.path.join(arguments.out, "licences.tsv"), "w", encoding="utf-8") as file:
        file.writelines("\t".join(row) + "\n" for row in table)
    print(f"{code} bytes of Python, {documentation} bytes of documentation in {arguments.out}; licences: {arguments.out}/licences.tsv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
