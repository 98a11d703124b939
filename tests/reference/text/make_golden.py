"""Makes the golden token ids that tests/unit/text compares with, by Python's sentencepiece.

    python tests/reference/text/make_golden.py            # from the root of the checkout

Trains tests/golden/text/tiny_tokenizer.model (once: an existing file is kept, because the golden model files refer to its
vocabulary; --train makes it anew) and writes one JSON file per tokenizer: versions, SHA-256 of the tokenizer, and for
every text the ids and the bytes its ids stand for. Tokenizers that are not there are left out with a message.
"""

import argparse
import hashlib
import json
import pathlib
import platform

import sentencepiece

ROOT = pathlib.Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "golden" / "text"
TINY = GOLDEN / "tiny_tokenizer.model"
TOKENIZERS = {
    "tiny": "tests/golden/text/tiny_tokenizer.model",
    "gemma_bytes": "../shared/data/tokenizers/keras_hub_gemma_export_vocab.spm",
    "gemma_no_bytes": "../shared/data/tokenizers/keras_hub_gemma_test_vocab.spm",
    "sentencepiece_test": "../shared/data/tokenizers/sentencepiece_test_model.model",
    "demo": "data/demo/model/tokenizer.model",
}
TEXTS = [
    "",
    " ",
    "  ",
    "\n",
    "a",
    "hello world",
    "  leading and  double  blanks ",
    "def area(width, height):\n    return width * height\n",
    "if x:\n\n        y = [1, 22, 333]\n\t# tab\r\nz = 'quoted \"text\"'\n",
    "Write a function to find the sum of the squares of the first 10 numbers.\n\nassert f(10) == 385\n\n# Solution:",
    "\u00e4\u00f6\u00fc \u00df \u20ac \u4f60\u597d \U0001f600 e\u0301",
    "zero\x00byte",
    "<bos>text after the spelling of a control token<eos>",
    "<0x41> is the spelling of a byte token",
    "a literal \u2581 is read as a blank",
    "x" * 200,
    "The quick brown fox jumps over the lazy dog. " * 5,
]


def train_tiny() -> None:
    """BPE, 384 pieces, with the settings of a tokenizer for programs: nothing normalised, every byte representable."""
    corpus = [text for text in TEXTS if text.strip() and text.isascii() and "\x00" not in text]
    corpus += [f"def f{i}(a, b):\n    total = a + {i}\n    return total * b\n" for i in range(40)]
    corpus += [f"Write a function to add {i} to every number of a list.\n\nassert f([1]) == [{i + 1}]\n" for i in range(40)]
    lines = [line for text in corpus for line in text.split("\n") if line.strip()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(TINY.with_suffix("")),
        model_type="bpe",
        vocab_size=384,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        user_defined_symbols=["\n", "\n\n", "  ", "    "],
        pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>", unk_piece="<unk>",
        hard_vocab_limit=True,
        num_threads=1,
        minloglevel=2,
    )
    TINY.with_suffix(".vocab").unlink()


def bytes_of(processor: sentencepiece.SentencePieceProcessor, ids: list[int]) -> bytes:
    """The bytes of the pieces, put together without the library's decoder (that one strips blanks and mends UTF-8)."""
    out = b""
    for i in ids:
        if processor.is_control(i):
            continue
        if processor.is_unknown(i):
            out += " \u2047 ".encode()
        elif processor.is_byte(i):
            out += bytes([int(processor.id_to_piece(i)[3:5], 16)])
        else:
            out += processor.id_to_piece(i).replace("\u2581", " ").encode()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", action="store_true", help="train the tiny tokenizer even if it exists")
    arguments = parser.parse_args()
    GOLDEN.mkdir(parents=True, exist_ok=True)
    if arguments.train or not TINY.exists():
        train_tiny()
    for name, relative in TOKENIZERS.items():
        path = ROOT / relative
        if not path.exists():
            print(f"{name}: {relative} is not there, left out")
            continue
        processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        cases = []
        for text in TEXTS:
            ids = processor.encode(text)
            cases.append({"text": text, "ids": ids, "bytes_hex": bytes_of(processor, ids).hex()})
        golden = {
            "made_by": "tests/reference/text/make_golden.py",
            "versions": {"python": platform.python_version(), "sentencepiece": sentencepiece.__version__},
            "tokenizer": relative,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "vocab_size": processor.vocab_size(),
            "bos_id": processor.bos_id(),
            "eos_id": processor.eos_id(),
            "cases": cases,
        }
        (GOLDEN / f"{name}.json").write_text(json.dumps(golden, indent=1) + "\n")
        print(f"{name}: {len(cases)} texts")


if __name__ == "__main__":
    main()
