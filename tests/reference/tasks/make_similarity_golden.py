"""Writes tests/golden/tasks/code_similarity.json: difflib's ratio of the token sequences of pairs of programs, tokens by
Python's own tokenize. usage: make_similarity_golden.py OUT.json. Python's standard library only; its version is recorded.
"""
import difflib
import io
import json
import platform
import random
import sys
import tokenize

LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING}


def tokens(source):
    return [t.string for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type not in LAYOUT]


PROGRAMS = [
    "",
    "# nothing but a comment\n",
    "def f(x):\n    return x + 1\n",
    "def f( x ) :  # adds\n\n        return (x\n            + 1)\n",
    "def f(x):\n    y = x + 1\n    return y\n",
    "def count(words):\n    n = 0\n    for w in words:\n        if w == 'a b' and len(w) >= 3:\n            n += 1\n    return n\n",
    "def count(words):\n    return sum(1 for w in words if w == \"a b\" and len(w) >= 3)\n",
    "import math\n\ndef area(r):\n    \"\"\"Area\n    of a circle.\"\"\"\n    return math.pi * r ** 2\n",
    "def area(r):\n    return 3.14159 * r * r\n\n\nclass A:\n    def f(self):\n        return [x for x in range(10)]\n",
    "a = 1\n" * 40,
    "a = 1\nb = 2\n" * 25,
]
chance = random.Random(5)
words = ["a", "b", "c", "(", ")", "+", "1", "="]
for length in (20, 60, 120):
    row = [chance.choice(["a", "b", "c", "1"]) for _ in range(length)]
    PROGRAMS.append(" + ".join(row) + "\n")

pairs = []
for i, a in enumerate(PROGRAMS):
    for j, b in enumerate(PROGRAMS):
        ratio = difflib.SequenceMatcher(None, tokens(a), tokens(b), autojunk=False).ratio()
        pairs.append([i, j, ratio])
with open(sys.argv[1], "w") as file:
    json.dump({"python": platform.python_version(), "programs": PROGRAMS, "pairs": pairs}, file, separators=(",", ":"))
    file.write("\n")
