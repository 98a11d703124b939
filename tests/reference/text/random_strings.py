"""The 10,000 random strings that tokenizers are compared on, made the same way here and in tests/unit/text.

    python tests/reference/text/random_strings.py            # writes tests/golden/text/random_strings.json

String `item` is drawn from the Philox stream (seed, stream, item) of include/pva/core/philox.h. The JSON file holds the
seed, the lists that are drawn from and the ranges of assigned code points of Unicode 14 (Python 3.11's unicodedata), so
that the C++ side needs nothing else.
"""

import json
import pathlib
import unicodedata

ROOT = pathlib.Path(__file__).resolve().parents[3]
FILE = ROOT / "tests" / "golden" / "text" / "random_strings.json"
BLANKS = [" ", "  ", "    ", "\n", "\n\n", "\t", " \n", "\r\n", "\u00a0", "\u3000", "\u2028", "\u180e", "\u0085", "\u001c", "\u200b"]
BASES = ["a", "e", "\u00e9", "\u00c4", "\u1112", "\u1161", "\u11ab", "\uac00", "\u0915", "\u05d0"]
SNIPPETS = ["\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f", "\u0131", "\u0130", "\u017f", "'s", "'S", "'\u017f", "'ll", "'LL",
            "don't", "I'VE", "'re", "\u212a", "\ufb01", "\u2581", "\u2581\u2581", "\u0120", "''", "``", "\u0000", "\u007f", "\ufffd", "\ufeff"]
WORDS = [" the ", "the", "hello world", "def f(x):\n        return x", " if x == 3:", "some_name", "CamelCase", "x = [1, 2, 3]\n", "https://a.b/c?d=e#f"]
SPECIALS = ["<s>", "</s>", "<unk>", "<bos>", "<eos>", "<pad>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>",
            "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]", "<0x41>", "<mask>", "<left>", "<right>", "<both>", "<word>", "<plain>",
            "<rightwords>", "\ufb01x", "FIX", "\u01c5", "\u0120\u00e9x", "<|padding|>", "<repo_name>"]


def ranges(wanted) -> list[list[int]]:
    result: list[list[int]] = []
    for c in range(0x110000):
        if not wanted(unicodedata.category(chr(c))):
            continue
        if result and result[-1][1] == c - 1:
            result[-1][1] = c
        else:
            result.append([c, c])
    return result


def write() -> None:
    assert unicodedata.unidata_version == "14.0.0", "another Python has another Unicode: " + unicodedata.unidata_version
    content = {
        "made_by": "tests/reference/text/random_strings.py", "unicode": unicodedata.unidata_version, "seed": 20240214, "stream": 77, "count": 10000,
        "blanks": BLANKS, "bases": BASES, "snippets": SNIPPETS, "words": WORDS, "specials": SPECIALS,
        "assigned": ranges(lambda category: category not in ("Cn", "Cs", "Co")), "marks": ranges(lambda category: category.startswith("M")),
    }
    FILE.write_text(json.dumps(content, separators=(",", ":")).replace('"assigned"', '\n"assigned"').replace('"marks"', '\n"marks"') + "\n")


class PhiloxStream:
    """Philox4x32-10 (Salmon et al. 2011) with the counter layout of include/pva/core/philox.h."""

    def __init__(self, seed: int, stream: int, item: int) -> None:
        self.seed, self.stream, self.item, self.block, self.bits = seed, stream, item, 0, []

    def next_u32(self) -> int:
        if not self.bits:
            c = [self.stream & 0xFFFFFFFF, self.stream >> 32, self.item, self.block]
            k0, k1 = self.seed & 0xFFFFFFFF, self.seed >> 32
            for _ in range(10):
                p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
                c = [(p1 >> 32) ^ c[1] ^ k0, p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k1, p0 & 0xFFFFFFFF]
                k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
            self.block += 1
            self.bits = c
        return self.bits.pop(0)

    def below(self, n: int) -> int:
        limit = 0xFFFFFFFF - (0xFFFFFFFF % n + 1) % n
        while (value := self.next_u32()) > limit:
            pass
        return value % n


class Strings:
    def __init__(self) -> None:
        self.spec = json.loads(FILE.read_text())
        self.assigned = [c for low, high in self.spec["assigned"] for c in range(low, high + 1)]
        self.marks = [c for low, high in self.spec["marks"] for c in range(low, high + 1)]

    def string(self, item: int) -> str:
        """One string: up to 13 pieces of twelve kinds. tests/unit/text/random_strings.cpp does the same, draw by draw."""
        random = PhiloxStream(self.spec["seed"], self.spec["stream"], item)
        text = ""
        for _ in range(random.below(14)):
            kind = random.below(12)
            if kind == 0:
                text += "".join(chr(0x20 + random.below(95)) for _ in range(1 + random.below(8)))
            elif kind == 1:
                blank = self.pick(random, "blanks")
                text += blank * (1 + random.below(4))
            elif kind == 2:
                text += "".join(chr(0x30 + random.below(10)) for _ in range(1 + random.below(9)))
            elif kind == 3:
                text += "".join(chr(self.marks[random.below(len(self.marks))]) for _ in range(1 + random.below(4)))
            elif kind == 4:
                text += self.pick(random, "bases")
                text += "".join(chr(0x300 + random.below(0x30)) for _ in range(random.below(4)))
            elif kind == 5:
                text += "".join(chr(0x4E00 + random.below(0x51F0)) for _ in range(1 + random.below(4)))
            elif kind == 6:
                text += self.pick(random, "snippets")
            elif kind == 7:
                text += "".join(chr(self.assigned[random.below(len(self.assigned))]) for _ in range(1 + random.below(5)))
            elif kind == 8:
                text += self.pick(random, "words")
            elif kind == 9:
                text += self.pick(random, "specials")
            elif kind == 10:
                text += "".join(chr(0x61 + random.below(26)) for _ in range(1 + random.below(6)))
            else:
                text += " "
        return text

    def pick(self, random: PhiloxStream, name: str) -> str:
        return self.spec[name][random.below(len(self.spec[name]))]

    def all(self) -> list[str]:
        return [self.string(item) for item in range(self.spec["count"])]


if __name__ == "__main__":
    write()
    strings = Strings().all()
    print(f"{FILE.name}: {FILE.stat().st_size} bytes; {len(strings)} strings of {sum(map(len, strings))} characters")
