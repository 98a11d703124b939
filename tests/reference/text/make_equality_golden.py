"""Golden tokens of whole corpora for tests/unit/text: every MBPP problem, HumanEval, the text sample, random strings.

    python tests/reference/text/make_equality_golden.py                       # from the root of the checkout
    python tests/reference/text/make_equality_golden.py --show llama3 random 512   # one text with its tokens

References: Hugging Face `tokenizers` for a tokenizer.json, the sentencepiece package for a SentencePiece model (and, for the
Llama-2-like one, transformers' LlamaTokenizer besides). One JSON file per tokenizer in tests/golden/text/equality: full ids and
offsets of a few texts, and for the corpora XXH3-64 hashes (hexadecimal) of the ids and offsets of one text each, of the random
strings 20 together. Hashed is, per text: the number of tokens, then id, begin and end of each, all as little-endian uint32.
`round_trips` has one bit per text (hexadecimal, the first text in the highest bit of the first digit): whether the reference decodes
its own ids to the text. One thing differs from the references on purpose: a text that begins with the spelling of BOS does not
get a second BOS. Tokenizers and corpora that are not there are left out with a message.
"""

import argparse
import gzip
import hashlib
import json
import os
import pathlib
import platform
import struct

import sentencepiece
import tokenizers
import xxhash

from make_golden import TEXTS
from random_strings import Strings

ROOT = pathlib.Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "golden" / "text" / "equality"
DATA = ROOT.parent / "shared" / "data"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "pva"
FORMS = ["neox", "llama3", "qwen2", "smollm2", "gemma", "llama2", "mistral", "metaspace_variants", "byte_level_variants"]
# Name: path from the root of the checkout, or from pva's cache folder where it begins with "cache:".
TOKENIZERS = {
    **{form: f"tests/golden/text/tokenizers/{form}.json" for form in FORMS},
    "pythia": "../shared/data/tokenizers/20B_tokenizer.json",
    "smollm2_135m": "cache:smollm2-135m-instruct/tokenizer.json",
    "llama2_sentencepiece": "tests/golden/text/tokenizers/llama2.model",
    "gemma_export": "../shared/data/tokenizers/keras_hub_gemma_export_vocab.spm",
    "gemma_test": "../shared/data/tokenizers/keras_hub_gemma_test_vocab.spm",
    "sentencepiece_own": "../shared/data/tokenizers/sentencepiece_test_model.model",
}
RANDOM_GROUP = 20
MORE_TEXTS = [
    "I'LL don't WE'VE 'S '\u017f it's",
    "1234567 12 3.14159 \u0663\u0664 \u2167 \u00bd",
    "\n\n\n  x\n \n\t\ty\r\n\r\n z   ",
    " <mask> <left> <right> <both> x<word> <word> <plain>  <rightwords>  <left><both>",
    "<s>hello</s> <s> <unk> <bos>x<eos>",
    "<|begin_of_text|><|im_start|>user\nhi<|im_end|><|endoftext|>",
    "<start_of_turn>user\nhi<end_of_turn>\n[INST] x [/INST]",
    "e\u0301\u0323 \u1e69 \u0344a \u1112\u1161\u11ab \ufb01x \u01c5 \U0001193d\u0323",
    "\u0430\u0431\u0432 \u4f60\u597d \ud55c\uad6d\uc5b4 \u0928\u092e\u0938\u094d\u0924\u0947 \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "Ġéx \u0120\u00e9x zqzq tokenizer NotMerged",
    "the other thethe 'the' the_ \u2581the",
    "a_b__C D.E!? f,g;h",
]


def corpora() -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    mbpp, human, sample = DATA / "mbpp/mbpp.jsonl", DATA / "humaneval/HumanEval.jsonl.gz", DATA / "text/pile_like_sample.jsonl"
    problems = [json.loads(line) for line in mbpp.read_text().splitlines()]
    result["mbpp"] = [one["text"] + "\n" + "\n".join(one["test_list"]) for one in problems]
    with gzip.open(human, "rt") as lines:
        result["humaneval"] = [one["prompt"] + one["canonical_solution"] + one["test"] for one in map(json.loads, lines)]
    result["sample"] = [json.loads(line)["text"] for line in sample.read_text().splitlines()]
    result["random"] = Strings().all()
    return result


class HuggingFace:
    def __init__(self, path: pathlib.Path) -> None:
        self.tokenizer = tokenizers.Tokenizer.from_file(str(path))
        self.vocab_size = 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values())

    def encode(self, text: str) -> list[tuple[int, int, int]]:
        encoding = self.tokenizer.encode(text)
        tokens = [(i, begin, end) for i, (begin, end) in zip(encoding.ids, encoding.offsets)]
        bare = self.tokenizer.encode(text, add_special_tokens=False).ids
        # The template's BOS before a text that spells BOS itself.
        if bare and tokens[0][0] == bare[0] and tokens[0][1:] == (0, 0) and len(tokens) > len(bare) and tokens[1][0] == bare[0]:
            tokens = tokens[1:]
        return tokens

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def plain(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids


class SentencePiece:
    def __init__(self, path: pathlib.Path) -> None:
        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.vocab_size = self.processor.vocab_size()
        self.bos = self.processor.bos_id()

    def encode(self, text: str) -> list[tuple[int, int, int]]:
        tokens, shift = [], 0
        if self.bos >= 0:
            spelling = self.processor.id_to_piece(self.bos)
            if text.startswith(spelling):
                shift = len(spelling)
            tokens.append((self.bos, 0, shift))
        characters, byte = {0: shift}, 0  # number of characters before a byte
        for i, character in enumerate(text[shift:]):
            byte += len(character.encode())
            characters[byte] = shift + i + 1
        for piece in self.processor.encode(text[shift:], return_type="proto").pieces:
            tokens.append((piece.id, characters[piece.begin], characters[piece.end]))
        return tokens

    def decode(self, ids: list[int]) -> str:
        return self.processor.decode(ids)

    def plain(self, text: str) -> list[int]:
        return self.processor.encode(text)


def packed(tokens: list[tuple[int, int, int]]) -> bytes:
    return struct.pack(f"<{1 + 3 * len(tokens)}I", len(tokens), *(number for token in tokens for number in token))


def hexadecimal(data: bytes) -> str:
    return f"{xxhash.xxh3_64_intdigest(data) or 1:016x}"  # pva's checksum is never 0


def bits(flags: list[bool]) -> str:
    digits = [flags[i:i + 4] + [False] * (4 - len(flags[i:i + 4])) for i in range(0, len(flags), 4)]
    return "".join(f"{sum(8 >> k for k, flag in enumerate(four) if flag):x}" for four in digits)


def path_of(place: str) -> pathlib.Path:
    return CACHE / place.removeprefix("cache:") if place.startswith("cache:") else ROOT / place


def reference_of(path: pathlib.Path) -> HuggingFace | SentencePiece:
    return HuggingFace(path) if path.suffix == ".json" else SentencePiece(path)


def compare_with_llama_tokenizer(path: pathlib.Path, reference: SentencePiece, texts: dict[str, list[str]]) -> None:
    """transformers' own reading of the same SentencePiece model; texts that spell special tokens are read differently."""
    from transformers import LlamaTokenizer
    llama = LlamaTokenizer.from_pretrained(str(path.parent), tokenizer_file=None, vocab_file=str(path), legacy=True, add_bos_token=True)
    for name, corpus in texts.items():
        special = ("<s>", "</s>", "<unk>")
        plain = [text for text in corpus if not any(one in text for one in special)]
        # transformers 5 puts no dummy prefix before a text that begins with a blank; SentencePiece does.
        blank = [text for text in plain if text[:1] in (" ", "▁")]
        plain = [text for text in plain if text[:1] not in (" ", "▁")]
        different = [sum(llama.encode(text) != [i for i, _, _ in reference.encode(text)] for text in some) for some in (plain, blank)]
        print(f"  LlamaTokenizer, {name}: {different[0]} of {len(plain)} texts differ from sentencepiece; "
              f"{different[1]} of {len(blank)} that begin with a blank")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", nargs=3, metavar=("TOKENIZER", "CORPUS", "NUMBER"), help="print one text and its tokens")
    parser.add_argument("--only", nargs="+", metavar="TOKENIZER", help="make the golden files of these only")
    parser.add_argument("--llama", action="store_true", help="compare the Llama-2-like model with transformers' LlamaTokenizer and write nothing")
    arguments = parser.parse_args()
    texts = corpora()
    if arguments.show:
        name, corpus, number = arguments.show
        text = texts[corpus][int(number)]
        print(ascii(text), reference_of(path_of(TOKENIZERS[name])).encode(text), sep="\n")
        return
    if arguments.llama:
        path = path_of(TOKENIZERS["llama2_sentencepiece"])
        compare_with_llama_tokenizer(path, SentencePiece(path), texts)
        return
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, place in TOKENIZERS.items():
        if arguments.only and name not in arguments.only:
            continue
        path = path_of(place)
        if not path.exists():
            print(f"{name}: {place} is not there, left out")
            continue
        reference = reference_of(path)
        cases = []
        for text in TEXTS + MORE_TEXTS:
            tokens = reference.encode(text)
            cases.append({"text": text, "ids": [i for i, _, _ in tokens], "offsets": [[b, e] for _, b, e in tokens],
                          "plain_ids_hash": hexadecimal(struct.pack(f"<{len(ids := reference.plain(text))}I", *ids))})
        golden = {
            "made_by": "tests/reference/text/make_equality_golden.py",
            "versions": {"python": platform.python_version(), "tokenizers": tokenizers.__version__, "sentencepiece": sentencepiece.__version__},
            "tokenizer": place, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "vocab_size": reference.vocab_size,
            "cases": cases, "corpora": {},
        }
        summary = []
        for corpus, members in texts.items():
            encoded = [reference.encode(text) for text in members]
            group = RANDOM_GROUP if corpus == "random" else 1
            data = [packed(tokens) for tokens in encoded]
            round_trips = [reference.decode([i for i, _, _ in tokens]) == text for tokens, text in zip(encoded, members)]
            golden["corpora"][corpus] = {
                "texts": len(members), "group": group, "tokens": sum(map(len, encoded)), "round_trips": bits(round_trips),
                "hashes": " ".join(hexadecimal(b"".join(data[i:i + group])) for i in range(0, len(data), group)),
            }
            summary.append(f"{corpus} {sum(map(len, encoded))} tokens, {sum(round_trips)} of {len(members)} round-trip")
        file = GOLDEN / f"{name}.json"
        text = json.dumps(golden, separators=(",", ":"))
        for key in ('"cases"', '{"text"', '"corpora"', '"humaneval"', '"sample"', '"random"'):
            text = text.replace(key, "\n" + key)
        file.write_text(text + "\n")
        print(f"{name}: {file.stat().st_size} bytes; {'; '.join(summary)}")


if __name__ == "__main__":
    main()
