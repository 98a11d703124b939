"""Trains the small tokenizers of tests/golden/text/tokenizers, one of each form that the supported models use.

    python tests/reference/text/train_tokenizers.py            # from the root of the checkout

An existing file is kept, because golden files refer to its vocabulary; --train makes all of them anew. The corpus is this
project's own text and a few lines of other scripts. Regular expressions, components and their order are those of the
tokenizer.json of the named family; vocabulary and merges are small. The merges of some are written as "a b", as files
before tokenizers 0.20 have them, of the others as ["a", "b"].
"""

import argparse
import json
import pathlib

import sentencepiece
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parents[3]
FOLDER = ROOT / "tests" / "golden" / "text" / "tokenizers"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def corpus() -> list[str]:
    texts = []
    for path in sorted((ROOT / "docs").glob("*.md")) + [ROOT / "src" / "tasks" / "complexity.py"]:
        texts.append(path.read_text())
    texts += ["élève naïve über Straße", "机器学习 语言模型 你好", "привет мир", "नमस्ते दुनिया", "한국어 문장", "😀😀 👩‍👩‍👧"] * 4
    texts += [f"def f{i}(a, b):\n    return a * {i * 37} + b\n\n\nassert f{i}(1, 2) == {i * 37 + 2}\n" for i in range(60)]
    return texts


def added(id_: int, content: str, special: bool = True, **options: bool) -> dict:
    entry = {"id": id_, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": special}
    entry.update(options)
    return entry


def byte_level_vocabulary(pre, size: int, normalizer=None) -> tuple[dict, list]:
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], model["merges"]


def sentencepiece_like_vocabulary(size: int, specials: list[str], with_bytes: bool, pre) -> tuple[dict, list]:
    """Specials first, then the byte pieces, then characters and merges, as files converted from SentencePiece have them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre
    front = specials + (BYTES if with_bytes else [])
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=front, limit_alphabet=160, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], model["merges"]


def bpe(vocab: dict, merges: list, legacy: bool = False, **options) -> dict:
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    model.update(options)
    model["vocab"] = vocab
    model["merges"] = [" ".join(pair) for pair in merges] if legacy else merges
    return model


def byte_level(add_prefix_space: bool, trim_offsets: bool, use_regex: bool) -> dict:
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": trim_offsets, "use_regex": use_regex}


def split(pattern: dict, behavior: str = "Isolated", invert: bool = False) -> dict:
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def template(before: list[tuple[str, int]], behind: list[tuple[str, int]] = ()) -> dict:
    def special(name: str) -> dict:
        return {"SpecialToken": {"id": name, "type_id": 0}}

    def text(name: str) -> dict:
        return {"Sequence": {"id": name, "type_id": 0}}

    single = [special(name) for name, _ in before] + [text("A")] + [special(name) for name, _ in behind]
    return {"type": "TemplateProcessing", "single": single, "pair": single + [text("B")],
            "special_tokens": {name: {"id": name, "ids": [id_], "tokens": [name]} for name, id_ in [*before, *behind]}}


def whole(model: dict, added_tokens: list, normalizer=None, pre=None, post=None, decoder=None) -> dict:
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added_tokens, "normalizer": normalizer,
            "pre_tokenizer": pre, "post_processor": post, "decoder": decoder, "model": model}


def sequence(kind: str, *members: dict) -> dict:
    return {"type": "Sequence", kind: list(members)}


SPACE_TO_BLANK = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
BLANK = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
SENTENCEPIECE_DECODER = sequence("decoders", SPACE_TO_BLANK, {"type": "ByteFallback"}, {"type": "Fuse"})
LLAMA2_DECODER = sequence("decoders", SPACE_TO_BLANK, {"type": "ByteFallback"}, {"type": "Fuse"},
                          {"type": "Strip", "content": " ", "start": 1, "stop": 0})


def neox() -> dict:
    vocab, merges = byte_level_vocabulary(pre_tokenizers.ByteLevel(add_prefix_space=False), 600, normalizers.NFC())
    n = len(vocab)
    runs = [added(n + 2 + i, " " * (8 - i), special=False, normalized=True) for i in range(7)]
    level = byte_level(False, True, True)
    return whole(bpe(vocab, merges, legacy=True), [added(n, "<|endoftext|>"), added(n + 1, "<|padding|>"), *runs],
                 normalizer={"type": "NFC"}, pre=level, post=level, decoder=level)


def llama3() -> dict:
    from tokenizers import Regex
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    vocab, merges = byte_level_vocabulary(pre, 800)
    # Pieces that no merge gives: ignore_merges finds them all the same.
    for piece in ("Ġtokenizer", "ĠNotMerged", "zqzq"):
        vocab.setdefault(piece, len(vocab))
    n = len(vocab)
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return whole(bpe(vocab, merges, legacy=True, ignore_merges=True), [added(n + i, name) for i, name in enumerate(names)],
                 pre=sequence("pretokenizers", split({"Regex": LLAMA3}), byte_level(False, True, False)),
                 post=sequence("processors", byte_level(True, False, True), template([(names[0], n)])),
                 decoder=byte_level(True, True, True))


def qwen2() -> dict:
    from tokenizers import Regex
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    vocab, merges = byte_level_vocabulary(pre, 700, normalizers.NFC())
    n = len(vocab)
    return whole(bpe(vocab, merges), [added(n + i, name) for i, name in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])],
                 normalizer={"type": "NFC"},
                 pre=sequence("pretokenizers", split({"Regex": QWEN2}), byte_level(False, False, False)),
                 post=byte_level(False, False, False), decoder=byte_level(False, False, False))


def smollm2() -> dict:
    pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    vocab, merges = byte_level_vocabulary(pre, 700)
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>"]
    vocab = {**{name: i for i, name in enumerate(names)}, **{piece: id_ + len(names) for piece, id_ in vocab.items()}}
    return whole(bpe(vocab, merges, legacy=True), [added(i, name) for i, name in enumerate(names)],
                 pre=sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, byte_level(False, True, True)),
                 decoder=byte_level(True, True, True))


def gemma() -> dict:
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    runs = ["\n", "\n\n", "\n\n\n", "▁▁", "▁▁▁", "▁▁▁▁"]
    vocab, merges = sentencepiece_like_vocabulary(1000, names + runs, True, pre_tokenizers.Split("▁", "merged_with_next"))
    tokens = [added(vocab[name], name) for name in names] + [added(vocab[run], run, special=False) for run in runs]
    return whole(bpe(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True), tokens, normalizer=BLANK,
                 pre=split({"String": " "}, "MergedWithPrevious"), post=template([("<bos>", 2)]), decoder=SENTENCEPIECE_DECODER)


def llama2() -> dict:
    names = ["<unk>", "<s>", "</s>"]
    vocab, merges = sentencepiece_like_vocabulary(900, names, True, pre_tokenizers.Split("▁", "merged_with_next"))
    return whole(bpe(vocab, merges, legacy=True, unk_token="<unk>", fuse_unk=True, byte_fallback=True),
                 [added(vocab[name], name) for name in names],
                 normalizer=sequence("normalizers", {"type": "Prepend", "prepend": "▁"}, BLANK),
                 post=template([("<s>", 1)]), decoder=LLAMA2_DECODER)


def mistral() -> dict:
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    vocab, merges = sentencepiece_like_vocabulary(800, names, True, pre_tokenizers.Split("▁", "merged_with_next"))
    return whole(bpe(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True), [added(vocab[name], name) for name in names],
                 pre={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False},
                 post=template([("<s>", 1)], [("</s>", 2)]), decoder=LLAMA2_DECODER)


def metaspace_variants() -> dict:
    """Metaspace with splitting, no byte fallback, unknown characters one by one, and added tokens of every option."""
    names = ["<unk>", "<s>"]
    vocab, merges = sentencepiece_like_vocabulary(500, names, False, pre_tokenizers.Split("▁", "merged_with_next"))
    n = len(vocab)
    tokens = [added(vocab[name], name) for name in names]
    for i, (content, options) in enumerate({
        "<left>": {"lstrip": True}, "<right>": {"rstrip": True}, "<both>": {"lstrip": True, "rstrip": True},
        "<word>": {"single_word": True}, "<plain>": {"special": False}, "the": {"special": False, "single_word": True, "normalized": True},
        "ﬁx": {"special": False, "normalized": True}, "ǅ": {"special": False, "normalized": True, "lstrip": True},
        "<rightwords>": {"rstrip": True, "single_word": True, "special": False}, "<left><both>": {"special": False},
    }.items()):
        assert content not in vocab
        options = dict(options)
        tokens.append(added(n + i, content, options.pop("special", True), **options))
    return whole(bpe(vocab, merges, unk_token="<unk>"), tokens,
                 normalizer=sequence("normalizers", {"type": "NFKC"}, {"type": "Lowercase"},
                                     {"type": "Replace", "pattern": {"Regex": r"''|`{2,}"}, "content": "\""}),
                 pre={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
                 post=template([("<s>", 1)]), decoder={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True})


def byte_level_variants() -> dict:
    """A blank before every text, offsets without blanks, Split of every behaviour, NFD and Strip, unused ids."""
    vocab, merges = byte_level_vocabulary(pre_tokenizers.ByteLevel(add_prefix_space=True), 400)
    n = len(vocab)
    level = byte_level(True, True, True)
    return whole(bpe(vocab, merges), [added(n, "<mask>", lstrip=True), added(n + 1, "Ġéx", special=False, normalized=True)],
                 normalizer=sequence("normalizers", {"type": "NFD"}, {"type": "Strip", "strip_left": False, "strip_right": True}),
                 pre=sequence("pretokenizers", split({"Regex": r"\p{Lu}"}, "MergedWithNext"), split({"String": "_"}, "Contiguous"),
                              split({"Regex": r"[^\s,;]+"}, "Removed", invert=True), split({"Regex": "[.!?]+"}, "MergedWithPrevious"),
                              {"type": "Digits", "individual_digits": False}, level),
                 post=level, decoder=level)


FORMS = [neox, llama3, qwen2, smollm2, gemma, llama2, mistral, metaspace_variants, byte_level_variants]


def train_llama2_sentencepiece(path: pathlib.Path) -> None:
    """BPE with a dummy prefix, byte fallback and nothing normalised, as Llama 2's tokenizer.model."""
    lines = [line for text in corpus() for line in text.split("\n") if line.strip()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(path.with_suffix("")), model_type="bpe", vocab_size=900,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True,
        split_digits=True, allow_whitespace_only_pieces=True, character_coverage=0.995, unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
        num_threads=1, minloglevel=2)
    path.with_suffix(".vocab").unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", action="store_true", help="train tokenizers that exist, too")
    arguments = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for form in FORMS:
        path = FOLDER / f"{form.__name__}.json"
        if arguments.train or not path.exists():
            text = json.dumps(form(), ensure_ascii=False, separators=(",", ":"))
            Tokenizer.from_str(text)  # the reference must be able to read it
            path.write_text(text + "\n")
        print(f"{path.name}: {path.stat().st_size} bytes")
    path = FOLDER / "llama2.model"
    if arguments.train or not path.exists():
        train_llama2_sentencepiece(path)
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
