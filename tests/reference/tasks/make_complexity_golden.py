"""Golden complexities by radon itself, for tests/unit/tasks.

usage: make_complexity_golden.py MBPP.jsonl OUTPUT_DIR

Writes mbpp_complexity.json (task ids and complexities of all references, no texts) and complexity_constructs.json
(hand-written sources, one or more for each rule, with radon's numbers). Needs radon 6.0.1.
"""
import json
import pathlib
import sys
import warnings

import radon
from radon.visitors import ComplexityVisitor

# name, source. Each source is meant to hit one rule; the name says which.
CONSTRUCTS = [
    ("empty text", ""),
    ("no block at all", "x = 1\nif x:\n    y = 2\n"),
    ("broken syntax", "def f(:\n    if x: pass\n"),
    ("null byte", "def f():\n    if x: pass\n\x00"),
    ("plain function", "def f(x):\n    return x\n"),
    ("if", "def f(x):\n    if x:\n        return 1\n    return 2\n"),
    ("if else", "def f(x):\n    if x:\n        return 1\n    else:\n        return 2\n"),
    ("elif chain", "def f(x):\n    if x == 1:\n        return 1\n    elif x == 2:\n        return 2\n    elif x == 3:\n        return 3\n    else:\n        return 4\n"),
    ("conditional expression", "def f(x):\n    return 1 if x else 2 if x is None else 3\n"),
    ("for", "def f(x):\n    for i in x:\n        pass\n"),
    ("for else", "def f(x):\n    for i in x:\n        pass\n    else:\n        return 1\n"),
    ("async for else", "async def f(x):\n    async for i in x:\n        pass\n    else:\n        return 1\n"),
    ("while", "def f(x):\n    while x:\n        x -= 1\n"),
    ("while else", "def f(x):\n    while x:\n        x -= 1\n    else:\n        return 1\n"),
    ("try two handlers", "def f():\n    try:\n        g()\n    except ValueError:\n        pass\n    except KeyError:\n        pass\n"),
    ("try else finally", "def f():\n    try:\n        g()\n    except ValueError:\n        pass\n    else:\n        h()\n    finally:\n        k()\n"),
    ("try finally only", "def f():\n    try:\n        g()\n    finally:\n        if a:\n            k()\n"),
    ("except star", "def f():\n    try:\n        if a:\n            g()\n    except* ValueError:\n        if b:\n            pass\n    else:\n        h()\n"),
    ("three operands of and", "def f(a, b, c):\n    return a and b and c\n"),
    ("mixed and or", "def f(a, b, c, d):\n    return a and b or c and d\n"),
    ("nested boolean in condition", "def f(a, b, c):\n    if a and (b or not c):\n        return 1\n"),
    ("list comprehension", "def f(x):\n    return [i for i in x]\n"),
    ("comprehension two for, three if", "def f(x):\n    return [j for i in x if i if i > 2 for j in i if j]\n"),
    ("set, dict, generator", "def f(x):\n    return {i for i in x}, {i: 1 for i in x if i}, sum(i for i in x)\n"),
    ("async comprehension", "async def f(x):\n    return [i async for i in x if i]\n"),
    ("condition inside comprehension", "def f(x):\n    return [1 if i else 2 for i in x if i and x]\n"),
    ("assert", "def f(a):\n    assert a\n"),
    ("assert is not visited", "def f(a, b):\n    assert a and b or [i for i in a if i], 'x' if a else 'y'\n"),
    ("match three cases", "def f(x):\n    match x:\n        case 1:\n            return 1\n        case 2:\n            return 2\n        case [a, b]:\n            return 3\n"),
    ("match with wildcard", "def f(x):\n    match x:\n        case 1:\n            return 1\n        case _:\n            return 2\n"),
    ("match with bare name and guard", "def f(x):\n    match x:\n        case 1:\n            return 1\n        case y if y and x:\n            return 2\n        case _:\n            return 3\n"),
    ("match wildcard only", "def f(x):\n    match x:\n        case _:\n            return 2\n"),
    ("match as pattern", "def f(x):\n    match x:\n        case 1 | 2 as y:\n            return y\n        case [_, *rest]:\n            return rest\n"),
    ("with", "def f():\n    with a() as b, c() as d:\n        if b:\n            pass\n"),
    ("async with", "async def f():\n    async with a() as b:\n        await b\n"),
    ("lambda", "def f(x):\n    return lambda y: y\n"),
    ("lambda with condition", "def f(x):\n    return lambda y: 1 if y and x else 2\n"),
    ("comparison chain, return, raise, yield, walrus, delete", "def f(x):\n    del x\n    if (n := 1) < 2 < 3:\n        raise ValueError\n    yield n\n    return\n"),
    ("break continue global nonlocal", "def f(x):\n    global z\n    for i in x:\n        if i:\n            break\n        continue\n"),
    ("decorators, defaults, annotations not visited", "@d(1 if a else 2)\ndef f(x=1 if a else 2, y: (a and b) = 3) -> (a or b):\n    return x\n"),
    ("nested function", "def f(x):\n    def g(y):\n        if y:\n            return 1\n        if x:\n            return 2\n    if x:\n        return g\n"),
    ("nested function inside a loop", "def f(x):\n    for i in x:\n        def g():\n            if i and x:\n                return 1\n    return g\n"),
    ("class in function", "def f(x):\n    class A:\n        def m(self):\n            if x and self:\n                return 1\n    return A\n"),
    ("async function", "async def f(x):\n    if x:\n        await g()\n"),
    ("class without methods", "class A:\n    x = 1 if a else 2\n    y = [i for i in x if i]\n"),
    ("class with one method", "class A:\n    def m(self):\n        if self:\n            return 1\n"),
    ("class with two methods", "class A:\n    def m(self):\n        if self:\n            return 1\n    def n(self):\n        return 2\n"),
    ("class with body and methods", "class A:\n    if a:\n        x = 1\n    elif b:\n        x = 2\n    def m(self):\n        return 1\n    def n(self):\n        for i in self:\n            if i:\n                return 2\n    async def o(self):\n        return 3\n"),
    ("method under a condition", "class A:\n    if a:\n        def m(self):\n            return 1 if self else 2\n    else:\n        def m(self):\n            return 1\n"),
    ("inner class", "class A:\n    class B:\n        def m(self):\n            if a and b and c and d:\n                return 1\n    def n(self):\n        return 1\n"),
    ("method with closure", "class A:\n    def m(self):\n        def g():\n            if self and a and b:\n                return 1\n        return g\n"),
    ("class decorator and bases not visited", "@d(1 if a else 2)\nclass A(B if a and b else C):\n    def m(self):\n        return 1\n"),
    ("functions under module-level statements", "if a:\n    def f(x):\n        return 1\nelse:\n    def f(x):\n        if x and a:\n            return 2\nfor i in a:\n    def g():\n        return 1 if a else 2\ntry:\n    def h():\n        while a:\n            pass\nexcept E:\n    pass\nwith a:\n    class K:\n        def m(self):\n            return 1\n"),
    ("same names are separate blocks", "def f(x):\n    if x and x and x:\n        return 1\ndef f(x):\n    return 1\n"),
    ("module-level code is no block", "def f():\n    return 1\nif a and b and c:\n    for i in d:\n        pass\n"),
    ("long chain of additions", "def f(x):\n    return " + " + ".join(["x"] * 300) + "\n"),
    ("invalid escape warns only", "def f(x):\n    return '\\d' if x else '\\w'\n"),
]


def complexity(source):
    try:
        blocks = ComplexityVisitor.from_code(source).blocks
    except (SyntaxError, ValueError):
        return 1
    return max((block.complexity for block in blocks), default=1)


def main():
    warnings.simplefilter("ignore")
    mbpp, output = sys.argv[1], pathlib.Path(sys.argv[2])
    versions = {"radon": radon.__version__, "python": sys.version.split()[0]}
    rows = [json.loads(line) for line in open(mbpp, encoding="utf-8")]
    codes = {row["task_id"]: row["code"].replace("\r\n", "\n").replace("\r", "\n") for row in rows}
    ids = sorted(codes)
    golden = {"made_with": versions, "task_ids": ids, "complexities": [complexity(codes[i]) for i in ids]}
    (output / "mbpp_complexity.json").write_text(json.dumps(golden) + "\n", encoding="utf-8")
    constructs = [{"name": n, "source": s, "complexity": complexity(s)} for n, s in CONSTRUCTS]
    golden = {"made_with": versions, "constructs": constructs}
    (output / "complexity_constructs.json").write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


main()
