"""Problem generator of the demo study: 20 families of MBPP-style problems, each with five levels of difficulty.

A problem is {"text", "code", "tests", "family", "level", "spec"}; `spec` is what the problem asks for, without wording:
the split into training and held-out problems goes by a hash of it, so the same task never stands on both sides.
"""
import hashlib
import random

import words

LEVEL_WEIGHTS = [0.24, 0.24, 0.21, 0.17, 0.14]

PRIME = ("def is_prime(k):\n    if k < 2:\n        return False\n    for d in range(2, k):\n        if k % d == 0:\n"
         "            return False\n    return True\n\n\n")


class Draw:
    """One problem being drawn: the random stream, the constants used so far, and whether the prime helper is needed.

    rarity 0 is the distribution trained on; towards 1 rare operations, large constants, invented words and the order
    "but first" become as common as the others. Nothing appears that training does not contain.
    """

    def __init__(self, rng, level, rarity=0.0):
        self.rng, self.level, self.rarity, self.constants, self.helper = rng, level, rarity, [], False

    def k(self, low=1, high=None):
        """A constant: mostly one or two small digits; harder levels draw larger ones more often."""
        r = self.rng.random()
        if high is None:
            r = r ** (1.0 - 0.8 * self.rarity)
            high = 12 if r < 0.62 else 30 if r < 0.93 - 0.02 * self.level else 99 if r < 0.985 else 999
        value = self.rng.randint(low, max(low, high))
        self.constants.append(value)
        return value

    def pick(self, table):
        """One of (weight, item) pairs."""
        return self.rng.choices([i for _, i in table], [w and w ** (1.0 - self.rarity) for w, _ in table])[0]

    def word(self, invented=0.15):
        return words.word(self.rng, invented + 0.4 * self.rarity)

    def say(self, *phrases):
        return phrases[0] if self.rng.random() < 0.7 else self.rng.choice(phrases)


# ---- conditions on a number: (english after "is", code) -------------------------------------------------------------
def condition(d, v="x", prime=False):
    kind = d.pick([(16, "even"), (16, "odd"), (22, "gt"), (22, "lt"), (14, "div"), (6, "ndiv"), (6, "ge"), (6, "le"),
                   (5, "between"), (3, "ne"), (1.5, "rem"), (1.5, "digit"), (1.0, "square"), (1.0, "outside"),
                   (2.5 if prime else 0, "prime")])
    if kind == "even":
        return "even", f"{v} % 2 == 0"
    if kind == "odd":
        return "odd", f"{v} % 2 == 1"
    if kind == "prime":
        d.helper = True
        return "a prime", f"is_prime({v})"
    if kind == "square":
        return "a perfect square", f"round({v} ** 0.5) ** 2 == {v}"
    if kind == "between":
        a = d.k()
        b = a + d.k(2, 20)
        d.constants.append(b)
        return f"between {a} and {b}", f"{a} <= {v} <= {b}"
    if kind == "outside":
        a = d.k()
        b = a + d.k(2, 20)
        d.constants.append(b)
        return f"below {a} or above {b}", f"not {a} <= {v} <= {b}"
    if kind in ("div", "ndiv", "rem"):
        m = d.k(3, 9)
        if kind == "div":
            return d.say(f"divisible by {m}", f"a multiple of {m}"), f"{v} % {m} == 0"
        if kind == "ndiv":
            return f"not divisible by {m}", f"{v} % {m} != 0"
        return f"one more than a multiple of {m}", f"{v} % {m} == 1"
    if kind == "digit":
        a = d.rng.randint(0, 9)
        return f"a number ending in {a}", f"{v} % 10 == {a}"
    k = d.k()
    english = {"gt": d.say(f"greater than {k}", f"above {k}"), "lt": d.say(f"less than {k}", f"below {k}"),
               "ge": f"at least {k}", "le": f"at most {k}", "ne": f"different from {k}"}[kind]
    return english, f"{v} {dict(gt='>', lt='<', ge='>=', le='<=', ne='!=')[kind]} {k}"


def conditions(d, count, v="x", prime=False):
    """`count` conditions joined by and / or (Python's precedence, which is also how the sentence reads)."""
    english, code = condition(d, v, prime)
    for _ in range(count - 1):
        e, c = condition(d, v)
        joint = "and" if d.rng.random() < 0.65 else "or"
        if c.startswith("not ") and joint == "and":
            continue
        english, code = f"{english} {joint} {e}", f"{code} {joint} {c}"
    return english, code


# ---- changes of a number: (english with the object "it", code) --------------------------------------------------------
def change(d, v="x", grow=False):
    kind = d.pick([(22, "add"), (0 if grow else 20, "sub"), (18, "mul"), (12, "double"), (0 if grow else 8, "square"),
                   (0 if grow else 5, "neg"), (4, "triple"), (0 if grow else 3, "mod"), (0 if grow else 3, "half"),
                   (0 if grow else 2, "from"), (0 if grow else 1, "cube"), (0 if grow else 1.5, "floor")])
    if kind == "double":
        return "double", f"{v} * 2"
    if kind == "triple":
        return "triple", f"{v} * 3"
    if kind == "square":
        return "square", f"{v} ** 2"
    if kind == "cube":
        return "cube", f"{v} ** 3"
    if kind == "neg":
        return "negate", f"-{v}"
    if kind == "half":
        return "halve", f"{v} // 2"
    if kind in ("mul", "mod", "floor"):
        k = d.k(3, 12 if kind == "mul" else 9)
        return {"mul": (f"multiply by {k}", f"{v} * {k}"), "mod": (f"reduce modulo {k}", f"{v} % {k}"),
                "floor": (f"floor divide by {k}", f"{v} // {k}")}[kind]
    k = d.k()
    return {"add": (d.say(f"add {k} to", f"increase by {k}"), f"{v} + {k}"),
            "sub": (d.say(f"subtract {k} from", f"decrease by {k}"), f"{v} - {k}"),
            "from": (f"subtract from {k}", f"{k} - {v}")}[kind]


def with_object(english, what):
    """"add 3 to" -> "add 3 to it", "multiply by 3" -> "multiply it by 3", "double" -> "double it"."""
    if english.endswith((" to", " from")):
        return f"{english} {what}"
    first, _, rest = english.partition(" ")
    if english.startswith("floor divide"):
        first, rest = "floor divide", english[len("floor divide "):]
    return f"{first} {what} {rest}".strip()


def sequence(d, steps):
    """Steps told in order; now and then one is told at the end with "but first"."""
    if len(steps) > 1 and d.rng.random() < 0.08 + 0.03 * d.level + 0.3 * d.rarity:
        return ", then ".join(steps[1:]) + f", but first {steps[0]}"
    return ", then ".join(steps)


REDUCE = [(24, ("the sum", "sum(xs)")), (14, ("the largest number or 0", "max(xs, default=0)")),
          (14, ("the smallest number or 0", "min(xs, default=0)")), (16, ("how many are left", "len(xs)")),
          (22, ("the list", "xs")), (8, ("the sorted list", "sorted(xs)")), (5, ("the reversed list", "xs[::-1]")),
          (3, ("the list sorted from high to low", "sorted(xs, reverse=True)")),
          (2, ("how many different numbers there are", "len(set(xs))")), (2, ("the sum of squares", "sum(x * x for x in xs)")),
          (1.5, ("the first two numbers", "xs[:2]")), (1, ("the last number or 0", "xs[-1] if xs else 0"))]


def ints(d, low=0, high=40, size=None):
    """A short list of integers, half of them close to the problem's constants: tests then tell near misses apart."""
    r = d.rng
    near = [k for k in d.constants if k < 200]
    values = []
    for _ in range(size or r.randint(3, 5)):
        if near and r.random() < 0.45:
            values.append(max(low, r.choice(near) + r.choice([-1, 0, 0, 1])))
        elif d.constants and max(d.constants) >= 200 and r.random() < 0.4:
            values.append(max(d.constants) + r.choice([-1, 0, 1]))
        else:
            values.append(r.randint(low, high))
    return values


def one(d, low=0, high=40):
    return ints(d, low, high, 1)[0]


def letters(d, low=4, high=7):
    r = d.rng
    text = r.choice(words.NOUNS + words.LABELS) if r.random() < 0.5 else "".join(r.choice("abcdeABCrst") for _ in range(r.randint(low, high)))
    return text[:8]


# ---- families: each returns (text, body lines, parameters, argument drawer, spec) ------------------------------------
def list_pipeline(d):
    steps, lines = [], []
    for _ in range(d.level):
        if d.rng.random() < 0.55:
            e, c = conditions(d, 1, prime=True)
            steps.append(d.say(f"keep the numbers that are {e}", f"drop all numbers but those that are {e}"))
            lines.append(f"xs = [x for x in xs if {c}]")
        else:
            e, c = change(d)
            steps.append(with_object(e, "each number"))
            lines.append(f"xs = [{c} for x in xs]")
    e, c = d.pick(REDUCE)
    text = d.say("Write a function to take a list of numbers", "Write a python function that takes a list of numbers")
    return f"{text}, {sequence(d, steps)}, and return {e}.", lines + [f"return {c}"], "xs", lambda: (ints(d),)


def loop_branches(d):
    lines, parts = ["total = START", "for x in xs:"], []
    start = 0 if d.rng.random() < 0.6 else d.k()
    for i in range(min(d.level, 4)):
        e, c = conditions(d, 2 if d.level == 5 and i == 0 else 1)
        a, code = total_action(d)
        parts.append(f"if it is {e}, {a}" if i == 0 else f"else if it is {e}, {a}")
        lines += [f"    {'if' if i == 0 else 'elif'} {c}:", f"        {code}"]
    if d.rng.random() < 0.5:
        a, code = total_action(d)
        parts.append(f"otherwise {a}")
        lines += ["    else:", f"        {code}"]
    lines[0] = f"total = {start}"
    return (d.say("Write a function to go over a list of numbers", "Write a python function that goes over a list of numbers") +
            f" with a total starting at {start}. For each number: {'; '.join(parts)}. Return the total.",
            lines + ["return total"], "xs", lambda: (ints(d),))


def total_action(d):
    kind = d.pick([(20, "add"), (14, "addk"), (12, "sub"), (10, "subk"), (6, "twice"), (4, "double"), (1.5, "reset"), (1.5, "square")])
    if kind == "add":
        return "add it", "total += x"
    if kind == "sub":
        return "subtract it", "total -= x"
    if kind == "twice":
        return "add twice the number", "total += 2 * x"
    if kind == "double":
        return "double the total", "total *= 2"
    if kind == "square":
        return "add its square", "total += x * x"
    if kind == "reset":
        return "set the total to 0", "total = 0"
    k = d.k()
    return (f"add {k}", f"total += {k}") if kind == "addk" else (f"subtract {k}", f"total -= {k}")


def label_number(d):
    lines, parts = [], []
    for i in range(d.level):
        e, c = conditions(d, 2 if d.rng.random() < 0.06 * d.level else 1, "n")
        w = d.word()
        parts.append(f"'{w}' if the number is {e}" if i == 0 else f"'{w}' if it is {e}")
        lines += [f"if {c}:", f"    return '{w}'"]
    w = d.word()
    return (d.say("Write a function to return ", "Write a python function to return ") + ", else ".join(parts) + f", and otherwise '{w}'.",
            lines + [f"return '{w}'"], "n", lambda: (one(d),))


def string_op(d):
    r = d.rng
    kind = d.pick([(12, "upper"), (10, "lower"), (14, "reverse"), (12, "remove"), (12, "replace"), (8, "first"), (8, "drop"),
                   (6, "last"), (6, "cut"), (9, "end"), (9, "front"), (5, "repeat"), (1.5, "swap"), (1.5, "second"), (1.5, "sorted"),
                   (1.5, "doubled"), (1.2, "middle"), (1.2, "title")])
    a, b = r.choice("abcdeorst"), r.choice("fghijkuvwxyz")
    k = r.randint(1, 4)
    w = d.word()[:6] if kind in ("end", "front") else ""
    return {
        "upper": (d.say("turn it into upper case", "make it upper case"), "s = s.upper()"),
        "lower": (d.say("turn it into lower case", "make it lower case"), "s = s.lower()"),
        "reverse": ("reverse it", "s = s[::-1]"), "remove": (f"remove every '{a}'", f"s = s.replace('{a}', '')"),
        "replace": (f"replace every '{a}' by '{b}'", f"s = s.replace('{a}', '{b}')"),
        "first": (f"keep the first {k} letters", f"s = s[:{k}]"), "drop": (f"drop the first {k} letters", f"s = s[{k}:]"),
        "last": (f"keep the last {k} letters", f"s = s[-{k}:]"), "cut": (f"drop the last {k} letters", f"s = s[:-{k}]"),
        "end": (f"add '{w}' at the end", f"s = s + '{w}'"), "front": (f"put '{w}' in front", f"s = '{w}' + s"),
        "repeat": (f"repeat it {k + 1} times", f"s = s * {k + 1}"), "swap": ("swap the case", "s = s.swapcase()"),
        "second": ("keep every second letter", "s = s[::2]"), "sorted": ("sort its letters", "s = ''.join(sorted(s))"),
        "doubled": ("double every letter", "s = ''.join(c * 2 for c in s)"),
        "middle": ("drop the first and the last letter", "s = s[1:-1]"), "title": ("capitalize it", "s = s.capitalize()")}[kind]


def string_pipeline(d):
    ops = [string_op(d) for _ in range(d.level)]
    text = d.say("Write a function to take a string", "Write a python function that takes a string")
    return f"{text}, {sequence(d, [e for e, _ in ops])}, and return it.", [c for _, c in ops] + ["return s"], "s", lambda: (letters(d),)


def arithmetic(d):
    two = d.rng.random() < 0.5
    steps, lines = [], []
    if two:
        e, c = d.pick([(10, ("add two numbers", "a + b")), (8, ("multiply two numbers", "a * b")), (6, ("take the larger of two numbers", "max(a, b)")),
                       (6, ("take the smaller of two numbers", "min(a, b)")), (4, ("subtract the second number from the first", "a - b")),
                       (1, ("take the distance of two numbers", "abs(a - b)"))])
        steps.append(e)
        lines.append(f"n = {c}")
    for _ in range(d.level + (0 if two else 1)):
        e, c = change(d, "n")
        if d.rng.random() < 0.22:
            ce, cc = condition(d, "n")
            steps.append(f"if it is {ce} {with_object(e, 'it')}")
            lines += [f"if {cc}:", f"    n = {c}"]
        else:
            steps.append(with_object(e, "it"))
            lines.append(f"n = {c}")
    text = d.say("Write a function to ", "Write a python function to ") + ("" if two else "take a number, ") + ", then ".join(steps) + ", and return the result."
    return text, lines + ["return n"], "a, b" if two else "n", (lambda: (one(d, 1, 15), one(d, 1, 15))) if two else (lambda: (one(d, 1, 20),))


def letter_condition(d):
    r = d.rng
    kind = d.pick([(14, "is"), (14, "in"), (10, "vowel"), (10, "not"), (7, "upper"), (7, "after"), (6, "before"), (2, "notin"), (1.5, "lower")])
    a = r.choice("abcdeorst")
    w = "".join(sorted(r.sample("abcdeorstABC", r.randint(2, 4))))
    return {"is": (f"equal to '{a}'", f"c == '{a}'"), "in": (f"in '{w}'", f"c in '{w}'"), "vowel": ("a vowel", "c in 'aeiou'"),
            "not": (f"different from '{a}'", f"c != '{a}'"), "upper": ("in upper case", "c.isupper()"), "lower": ("in lower case", "c.islower()"),
            "after": (f"after '{a}' in the alphabet", f"c > '{a}'"), "before": (f"before '{a}' in the alphabet", f"c < '{a}'"),
            "notin": (f"missing in '{w}'", f"c not in '{w}'")}[kind]


def count_letters(d):
    english, code = letter_condition(d)
    for _ in range(d.level - 1):
        e, c = letter_condition(d)
        j = "and" if d.rng.random() < 0.55 else "or"
        english, code = f"{english} {j} {e}", f"{code} {j} {c}"
    what = d.pick([(10, "count"), (6, "keep"), (3, "drop"), (1, "list")])
    text, line = {"count": ("count the letters of a string that are", f"return sum(1 for c in s if {code})"),
                  "keep": ("keep the letters of a string that are", f"return ''.join(c for c in s if {code})"),
                  "drop": ("remove the letters of a string that are", f"return ''.join(c for c in s if not ({code}))"),
                  "list": ("find the positions of the letters of a string that are", f"return [i for i, c in enumerate(s) if {code}]")}[what]
    return d.say("Write a function to ", "Write a python function to ") + f"{text} {english}.", [line], "s", lambda: (letters(d, 5, 8),)


def lookup(d):
    keys, lines, parts = [], [], []
    for i in range(d.level + 1):
        w = d.word(0.1 + 0.05 * d.level)
        if w in keys:
            continue
        keys.append(w)
        v = d.k()
        parts.append(f"'{w}' to {v}")
        lines += [f"if s == '{w}':", f"    return {v}"]
    default = d.pick([(5, 0), (3, -1), (2, d.k())])
    return (d.say("Write a function to map ", "Write a python function that maps ") + ", ".join(parts) + f" and anything else to {default}.",
            lines + [f"return {default}"], "s", lambda: (d.rng.choice(keys + [words.word(d.rng)]),))


def range_sum(d):
    e, c = conditions(d, max(1, d.level - 1), prime=True)
    item, code = ("numbers", "x")
    if d.level > 1 and d.rng.random() < 0.5:
        item, code = d.pick([(10, ("squares of the numbers", "x * x")), (6, ("doubles of the numbers", "x * 2")), (2, ("cubes of the numbers", "x ** 3")),
                             (6, (lambda k: (f"products with {k} of the numbers", f"x * {k}"))(d.k(3, 9)))])
    first = 1 if d.rng.random() < 0.7 else d.k(2, 9)
    what, line = d.pick([(10, ("find the sum of the {} from {} to n that are {}", "return sum({} for x in range({}, n + 1) if {})")),
                         (7, ("list the {} from {} to n that are {}", "return [{} for x in range({}, n + 1) if {}]")),
                         (3, ("find the largest of the {} from {} to n that are {}, or 0", "return max(({} for x in range({}, n + 1) if {}), default=0)"))])
    return (d.say("Write a function to ", "Write a python function to ") + what.format(item, first, e) + ".", [line.format(code, first, c)], "n",
            lambda: (min(one(d, 5, 30), 40) if max(d.constants + [0]) < 35 else d.rng.randint(5, 30),))


def while_steps(d):
    limit = d.k(20, 120)
    lines, parts = [f"while n < {limit}:"], []
    for i in range(d.level - 1):
        ce, cc = condition(d, "n")
        e, c = change(d, "n", grow=True)
        parts.append(f"if it is {ce} {with_object(e, 'it')}")
        lines += [f"    {'if' if i == 0 else 'elif'} {cc}:", f"        n = {c}"]
    e, c = change(d, "n", grow=True)
    parts.append(("otherwise " if parts else "") + with_object(e, "it"))
    lines += (["    else:", f"        n = {c}"] if d.level > 1 else [f"    n = {c}"])
    lines.append("    count += 1")
    if d.rng.random() < 0.6:
        return (f"Write a function to count the steps until a number reaches {limit}: {', else '.join(parts[:-1])}{', ' if len(parts) > 1 else ''}{parts[-1]}.",
                ["count = 0"] + lines + ["return count"], "n", lambda: (one(d, 1, 25),))
    return (f"Write a function that returns where a number ends when it reaches {limit}: {', else '.join(parts[:-1])}{', ' if len(parts) > 1 else ''}{parts[-1]}.",
            lines[:-1] + ["return n"], "n", lambda: (one(d, 1, 25),))


def zip_lists(d):
    e, c = d.pick([(12, ("add two lists", "a + b")), (10, ("multiply two lists", "a * b")), (7, ("take the larger numbers of two lists", "max(a, b)")),
                   (6, ("take the smaller numbers of two lists", "min(a, b)")), (6, ("subtract the second list from the first", "a - b")),
                   (1.5, ("take the distances of two lists", "abs(a - b)"))])
    steps, lines = [f"{e} element by element"], [f"xs = [{c} for a, b in zip(ys, zs)]"]
    for _ in range(d.level - 1):
        if d.rng.random() < 0.5:
            ce, cc = condition(d)
            steps.append(f"keep the numbers that are {ce}")
            lines.append(f"xs = [x for x in xs if {cc}]")
        else:
            ce, cc = change(d)
            steps.append(with_object(ce, "each number"))
            lines.append(f"xs = [{cc} for x in xs]")
    e, c = d.pick(REDUCE)
    text = d.say("Write a function to ", "Write a python function to ") + ", then ".join(steps) + f", and return {e}."

    def arguments():
        n = d.rng.randint(2, 4)
        return ints(d, 0, 15, n), ints(d, 0, 15, n)
    return text, lines + [f"return {c}"], "ys, zs", arguments


def word_condition(d):
    r = d.rng
    kind = d.pick([(12, "long"), (10, "short"), (10, "start"), (9, "end"), (9, "has"), (4, "hasnt"), (3, "len"), (1.5, "sandwich"), (1.5, "odd")])
    a, k = r.choice("abcdeorst"), r.randint(2, 6)
    return {"long": (f"longer than {k}", f"len(w) > {k}"), "short": (f"shorter than {k + 2}", f"len(w) < {k + 2}"),
            "start": (f"starting with '{a}'", f"w.startswith('{a}')"), "end": (f"ending with '{a}'", f"w.endswith('{a}')"),
            "has": (f"containing '{a}'", f"'{a}' in w"), "hasnt": (f"without '{a}'", f"'{a}' not in w"), "len": (f"of length {k + 1}", f"len(w) == {k + 1}"),
            "sandwich": ("with equal first and last letters", "w[0] == w[-1]"), "odd": ("of odd length", "len(w) % 2 == 1")}[kind]


def word_list(d):
    steps, lines = [], []
    for i in range(d.level):
        r = d.rng.random()
        if i == 0 or r < 0.45:
            e, c = word_condition(d)
            if d.rng.random() < 0.1 * (d.level - 1):
                e2, c2 = word_condition(d)
                j = d.rng.choice(["and", "or"])
                e, c = f"{e} {j} {e2}", f"{c} {j} {c2}"
            steps.append(f"keep the words {e}")
            lines.append(f"ws = [w for w in ws if {c}]")
        else:
            a = d.rng.choice("aeiou")
            e, c = d.pick([(8, ("reverse each word", "w[::-1]")), (8, ("make each word upper case", "w.upper()")), (6, ("take the first letter of each word", "w[0]")),
                           (5, (f"remove '{a}' from each word", f"w.replace('{a}', '')")), (5, (f"add '{a}' to each word", f"w + '{a}'")),
                           (2, ("take the last two letters of each word", "w[-2:]")), (1, ("double each word", "w * 2"))])
            steps.append(e)
            lines.append(f"ws = [{c} for w in ws]")
            if "[0]" in c or "replace" in c:
                break
    sep = d.rng.choice(["-", "+", ", ", "/", ""])
    e, c = d.pick([(12, ("the list", "ws")), (9, ("how many are left", "len(ws)")), (9, (f"them joined by '{sep}'", f"'{sep}'.join(ws)")), (6, ("them sorted", "sorted(ws)")),
                   (4, ("the reversed list", "ws[::-1]")), (2, ("them sorted by length", "sorted(ws, key=len)")), (1.5, ("the total length", "sum(len(w) for w in ws)")),
                   (1, ("the longest one or ''", "max(ws, key=len, default='')"))])
    text = d.say("Write a function to take a list of words", "Write a python function that takes a list of words")
    return (f"{text}, {', then '.join(steps)}, and return {e}.", lines + [f"return {c}"], "ws",
            lambda: ([d.rng.choice(words.LABELS if d.rng.random() < 0.5 else words.NOUNS) for _ in range(d.rng.randint(3, 4))],))


def pairs(d):
    ve, vc = d.pick([(12, ("sum", "xs[i] + xs[j]")), (8, ("product", "xs[i] * xs[j]")), (4, ("distance", "abs(xs[i] - xs[j])"))])
    e, c = conditions(d, max(1, d.level - 1), "v")
    what = "count" if d.level < 3 or d.rng.random() < 0.6 else "add"
    act, line = {"count": ("count the pairs of numbers in a list whose {} is {}", "total += 1"),
                 "add": ("add up the {}s of the pairs of numbers in a list where it is {}", "total += v")}[what]
    if d.level == 1:
        c = c.replace("v", vc) if c.startswith("v") and not c.startswith("v %") else c
    body = (["total = 0", "for i in range(len(xs)):", "    for j in range(i + 1, len(xs)):", f"        v = {vc}", f"        if {c}:", f"            {line}", "return total"])
    if d.level == 1:
        e, c = condition(d, "v")
        body[4] = f"        if {c}:"
    return d.say("Write a function to ", "Write a python function to ") + act.format(ve, e) + ".", body, "xs", lambda: (ints(d, 0, 15),)


def predicate(d):
    e, c = conditions(d, d.level, "n", prime=True)
    if d.rng.random() < 0.15:
        return d.say("Write a function to check that a number is not ", "Write a python function to check that a number is never ") + e + ".", [f"return not ({c})"], "n", lambda: (one(d),)
    return d.say("Write a function to check whether a number is ", "Write a python function to check if a number is ") + e + ".", [f"return {c}"], "n", lambda: (one(d),)


def recurrence(d):
    start = d.k(1, 12)
    steps, lines = [], []
    for i in range(d.level):
        e, c = change(d, "a", grow=d.rng.random() < 0.7)
        if i > 0 and d.rng.random() < 0.5:
            ce, cc = condition(d, "a")
            steps.append(f"if it is {ce} {with_object(e, 'it')}")
            lines += [f"    if {cc}:", f"        a = {c}"]
        else:
            steps.append(with_object(e, "it"))
            lines.append(f"    a = {c}")
    if d.rng.random() < 0.65:
        return (f"Write a function to start with {start} and n times {', then '.join(steps)}, and return the result.",
                [f"a = {start}", "for i in range(n):"] + lines + ["return a"], "n", lambda: (d.rng.randint(1, 4),))
    return (f"Write a function to list n numbers that start with {start}: each time {', then '.join(steps)}.",
            [f"a = {start}", "out = []", "for i in range(n):", "    out.append(a)"] + lines + ["return out"], "n", lambda: (d.rng.randint(1, 4),))


def digits(d):
    lines, steps = ["xs = [int(c) for c in str(n)]"], []
    for _ in range(d.level - 1):
        if d.rng.random() < 0.6:
            kind = d.pick([(10, ("even", "x % 2 == 0")), (10, ("odd", "x % 2 == 1")), (10, "gt"), (8, "lt"), (3, "ne"), (2, ("divisible by 3", "x % 3 == 0"))])
            k = d.rng.randint(1, 8)
            e, c = {"gt": (f"greater than {k}", f"x > {k}"), "lt": (f"less than {k}", f"x < {k}"), "ne": (f"different from {k}", f"x != {k}")}.get(kind, kind) if isinstance(kind, str) else kind
            steps.append(f"keep those that are {e}")
            lines.append(f"xs = [x for x in xs if {c}]")
        else:
            e, c = change(d)
            steps.append(with_object(e, "each"))
            lines.append(f"xs = [{c} for x in xs]")
    e, c = d.pick(REDUCE)
    return (d.say("Write a function to ", "Write a python function to ") + ", then ".join(["take the digits of a number"] + steps) + f", and return {e}.",
            lines + [f"return {c}"], "n", lambda: (d.rng.randint(10, 99999),))


def piecewise(d):
    lines, parts = [], []
    for i in range(d.level):
        e, c = condition(d, "n")
        ve, vc = change(d, "n")
        if d.level > 2 and d.rng.random() < 0.2:
            ve2, vc2 = change(d, "n")
            parts.append(f"if it is {e} {with_object(ve, 'it')} and then {with_object(ve2, 'it')}")
            lines += [f"if {c}:", f"    n = {vc}", f"    return {vc2}"]
        else:
            parts.append(f"if it is {e} {with_object(ve, 'it')}")
            lines += [f"if {c}:", f"    return {vc}"]
    ve, vc = change(d, "n")
    return (d.say("Write a function to change a number: ", "Write a python function that changes a number: ") + ", else ".join(parts) + f", otherwise {with_object(ve, 'it')}.",
            lines + [f"return {vc}"], "n", lambda: (one(d),))


def slices(d):
    steps, lines = [], []
    for _ in range(d.level):
        k = d.rng.randint(1, 3)
        v = d.rng.randint(0, 30)
        e, c = d.pick([(12, (f"drop the first {k}", f"xs = xs[{k}:]")), (11, (f"drop the last {k}", f"xs = xs[:-{k}]")), (8, (f"keep the first {k + 1}", f"xs = xs[:{k + 1}]")),
                       (7, (f"keep the last {k + 1}", f"xs = xs[-{k + 1}:]")), (12, ("reverse it", "xs = xs[::-1]")), (8, (f"add {v} at the end", f"xs = xs + [{v}]")),
                       (7, (f"put {v} in front", f"xs = [{v}] + xs")), (5, ("keep every second element", "xs = xs[::2]")), (5, ("sort it", "xs = sorted(xs)")),
                       (5, (f"remove every {v}", f"xs = [x for x in xs if x != {v}]")), (2, ("repeat it", "xs = xs * 2")), (1.5, ("move the first element to the end", "xs = xs[1:] + xs[:1]")),
                       (1.5, ("move the last element to the front", "xs = xs[-1:] + xs[:-1]")), (1, ("drop the first and the last element", "xs = xs[1:-1]")), (1, ("keep every third element", "xs = xs[::3]"))])
        if "remove every" in e:
            d.constants.append(v)
        steps.append(e)
        lines.append(c)
    text = d.say("Write a function to take a list", "Write a python function that takes a list")
    return f"{text}, {sequence(d, steps)}, and return it.", lines + ["return xs"], "xs", lambda: (ints(d, 0, 30, d.rng.randint(4, 6)),)


def matrix(d):
    row = None
    if d.level > 1:
        re_, rc = d.pick([(10, "sum"), (8, "first"), (5, "largest"), (3, "length")]), None
        ce, cc = condition(d, {"sum": "sum(row)", "first": "row[0]", "largest": "max(row)", "length": "len(row)"}[re_])
        row = (f"in the rows whose {re_} is {ce}", cc) if re_ != "first" else (f"in the rows whose first number is {ce}", cc)
    e, c = conditions(d, max(1, d.level - 2))
    act, line = d.pick([(10, ("add up the numbers of a matrix that are {}", "total += x")), (8, ("count the numbers of a matrix that are {}", "total += 1")),
                        (2, ("add up the squares of the numbers of a matrix that are {}", "total += x * x"))])
    lines = ["total = 0", "for row in rows:"]
    pad = "    "
    if row:
        lines.append(f"    if {row[1]}:")
        pad += "    "
    lines += [f"{pad}for x in row:", f"{pad}    if {c}:", f"{pad}        {line}", "return total"]
    return (d.say("Write a function to ", "Write a python function to ") + act.format(e) + (", only " + row[0] if row else "") + ".", lines, "rows",
            lambda: ([ints(d, 0, 25, d.rng.randint(2, 3)) for _ in range(2)],))


def frequencies(d):
    k = d.rng.randint(1, 3)
    lines = ["counts = {}", "for x in xs:"]
    text = "count how often each number of a list occurs"
    if d.level > 2:
        e, c = conditions(d, 1 if d.level < 5 else 2)
        text = f"count how often each number of a list that is {e} occurs"
        lines += [f"    if {c}:", "        counts[x] = counts.get(x, 0) + 1"]
    else:
        lines.append("    counts[x] = counts.get(x, 0) + 1")
    what = d.pick([(8, "dict"), (8, "least"), (6, "most"), (6, "once"), (2, "max"), (3, "exact")]) if d.level > 1 else d.pick([(8, "dict"), (5, "once"), (5, "least")])
    e, c = {"dict": ("return the counts", "counts"), "least": (f"return the numbers seen at least {k + 1} times", f"[x for x in counts if counts[x] >= {k + 1}]"),
            "most": (f"return the numbers seen at most {k} times", f"[x for x in counts if counts[x] <= {k}]"), "once": ("return the numbers seen once", "[x for x in counts if counts[x] == 1]"),
            "exact": (f"return how many were seen {k} times", f"sum(1 for x in counts if counts[x] == {k})"), "max": ("return the highest count or 0", "max(counts.values(), default=0)")}[what]
    if d.level > 3 and c.startswith("[x for"):
        ve, vc = change(d)
        e, c = e + f", {with_object(ve, 'each of them')}", "[" + vc + c[2:]
        e = e.replace("return the", "take the").replace(", ", ", then ") + ", and return them"

    def arguments():
        pool = ints(d, 0, 20, d.rng.randint(2, 3))
        return ([d.rng.choice(pool) for _ in range(d.rng.randint(4, 6))],)
    return d.say("Write a function to ", "Write a python function to ") + f"{text} and {e}.", lines + [f"return {c}"], "xs", arguments


def first_match(d):
    e, c = conditions(d, max(1, d.level - 1), prime=True)
    default = d.pick([(5, 0), (4, -1), (3, d.k())])
    what = d.pick([(10, "first"), (6, "position"), (5, "last"), (3, "changed" if d.level > 2 else "first")])
    if what == "position":
        return (f"Write a function to find the position of the first number in a list that is {e}, or {default} if there is none.",
                ["for i, x in enumerate(xs):", f"    if {c}:", "        return i", f"return {default}"], "xs", lambda: (ints(d),))
    if what == "last":
        return (f"Write a function to find the last number in a list that is {e}, or {default} if there is none.",
                ["for x in reversed(xs):", f"    if {c}:", "        return x", f"return {default}"], "xs", lambda: (ints(d),))
    if what == "changed":
        ve, vc = change(d)
        return (f"Write a function to find the first number in a list that is {e} and {with_object(ve, 'it')}, or return {default} if there is none.",
                ["for x in xs:", f"    if {c}:", f"        return {vc}", f"return {default}"], "xs", lambda: (ints(d),))
    return (d.say("Write a function", "Write a python function") + f" to find the first number in a list that is {e}, or {default} if there is none.",
            ["for x in xs:", f"    if {c}:", "        return x", f"return {default}"], "xs", lambda: (ints(d),))


FAMILIES = {f.__name__: f for f in (list_pipeline, loop_branches, label_number, string_pipeline, arithmetic, count_letters, lookup, range_sum, while_steps,
                                    zip_lists, word_list, pairs, predicate, recurrence, digits, piecewise, slices, matrix, frequencies, first_match)}


def literal_size(value):
    return len(repr(value))


def make(rng, family=None, level=None, rarity=0.0):
    """One problem, or None when its three tests could not be drawn (all answers equal, an error, too long a literal)."""
    family = family or rng.choice(sorted(FAMILIES))
    level = level or rng.choices(range(1, 6), LEVEL_WEIGHTS)[0]
    d = Draw(rng, level, rarity)
    text, body, parameters, arguments = FAMILIES[family](d)
    name = words.function_name(rng)
    code = (PRIME if d.helper else "") + f"def {name}({parameters}):\n" + "\n".join("    " + line for line in body)
    space = {}
    exec(compile(code, "reference", "exec"), space)
    cases, answers = [], []
    for attempt in range(24):
        args = arguments()
        if args in cases:
            continue
        try:
            value = space[name](*args)
            size = literal_size(value)
        except (TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError):
            continue
        if size > 40 or isinstance(value, complex):
            continue
        # The third test must not repeat the answer of both others.
        if len(cases) >= 1 and answers.count(value) >= 1 and attempt < 16:
            continue
        if isinstance(value, (list, str)) and not value and attempt < 10:
            continue
        cases.append(args)
        answers.append(value)
        if len(cases) == 3:
            break
    if len(cases) < 3 or len({repr(a) for a in answers}) == 1:
        return None
    tests = [f"assert {name}({', '.join(repr(a) for a in args)}) == {value!r}" for args, value in zip(cases, answers)]
    spec = family + "|" + "\n".join(body)
    return {"text": text, "code": code, "tests": tests, "family": family, "level": level, "rarity": rarity, "spec": spec}


def held_out(problem):
    """A tenth of all tasks, by a hash of what is asked (not of its wording)."""
    return hashlib.sha256(problem["spec"].encode()).digest()[0] < 26


def prompt(problem):
    tests = problem.get("tests") or problem["test_list"]
    return problem["text"] + "\n\n" + "\n".join(tests) + "\n\n" + "# Solution:"


def completion(problem):
    return "\n" + problem["code"] + "\n"


def stream(seed, want_held_out, rarity=0.0):
    """Endless problems of one side of the split."""
    rng = random.Random(seed)
    while True:
        p = make(rng, rarity=rarity)
        if p is not None and held_out(p) == want_held_out:
            yield p
