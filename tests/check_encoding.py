"""Compare the native encoder's ids with those of `tokenizers`, at length: python tests/check_encoding.py --help

For each of the patterns that it knows (Llama 3's, Qwen's, GPT-2's), with and without `ignore_merges`: every code point
in ten surroundings, the special tokens' own strings, random strings, and text.
Prints what it compared and where ids differ; exits with 1 if any do.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from smolfast.tokens.encoding import Encoder
from smolfast.tokens.fast_encoder import DIFFICULT, FastEncoder
from smolfast.tokens.tokenizer_folder import SPLIT_PATTERN, TokenizerFolder, open_tokenizer

PATTERNS = {"llama3": SPLIT_PATTERN, "qwen": SPLIT_PATTERN.replace("{1,3}", ""), "gpt2": None}
SPECIAL = ("<|endoftext|>", "<|padding|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>")
ADDED = ("<think>", "</think>", "zebra7")
# Blanks, letters that fold into others, marks, digits, joiners, halves of special tokens, code points at the edges.
PARTS = (
    *(" ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u2003", "\u3000", "\u0085", "\u200b", "\u2028", "\ufeff"),
    *("a", "A", "the", " of", "ing", "s", "'s", "'S", "'\u017f", "'ll", "'LL", "\u2019t", "'", "K", "\u212a", "\u0131"),
    *("\u0130", "\u00df", "\u1e9e", "\u00e9", "e\u0301", "\u0345", "\u0300", "\u093f", "\u09be", "\u0e31", "\u200d"),
    *("1", "12", "123", "4567", "\u0663", "\u0967", "\u00b2", "\u00bd", "\u2167", "\U0001d7d8", "\u3007", "\u4e09"),
    *(".", "...", "!?", "==", "\u2026", "\u00ab", "_", "-", "\u2014", "$", "\u20ac", "\u0e3f", "#", "/*", "*/", "\\"),
    *("\u65e5\u672c", "\u306e", "\u30ab\u309a", "\uac00", "\u1100\u1161", "\U00020000", "\U0003134a", "\U0001f469"),
    *("\ufe0f", "\U0001f3fd", "\U0001f1e9", "\u0627\u0644", "\u05d0", "\u0430", "\u03c3", "\u03c2", "\ud7ff", "\ue000"),
    *("\x00", "\x1b", "\x7f", "\u0080", "\u00ad", "\ufffd", "\ufffe", "\uffff", "\U0010ffff", "\U000e0001", "\u0378"),
    *("<|", "|>", "<|endoftext|>", "<|im_start|>", "im_end", "<think>", "</think", "zebra7", "zebra", "<s>", "</s"),
)  # fmt: skip


def trained(texts: Sequence[str], pattern: str | None, ignore_merges: bool, vocab_size: int) -> Tokenizer:
    """Byte-level BPE of a pattern, with special tokens and added words."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if pattern is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        rest = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, rest])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([[text[:20_000]] for text in texts], trainer)
    tokenizer.add_tokens(list(ADDED))
    return tokenizer


def opened(tokenizer: Tokenizer, folder: Path) -> TokenizerFolder:
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return open_tokenizer(folder)


def code_points(every: int = 1) -> Iterator[str]:
    """Each code point between letters, blanks, digits, marks, line breaks and itself."""
    for code in (*range(0, 0xD800, every), *range(0xE000, 0x110000, every)):
        c = chr(code)
        yield f"a{c}b {c} x{c}{c}1{c}. {c}\n '{c}{c}s\t{c}\r\n"


def random_strings(count: int, seed: int) -> Iterator[str]:
    """Parts put together, and code points by chance."""
    chance = random.Random(seed)
    for number in range(count):
        if number % 4 == 3:
            codes = (
                chance.randrange(chance.choice((0x80, 0x800, 0x10000, 0x110000))) for _ in range(chance.randrange(60))
            )
            yield "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)
        else:
            yield "".join(chance.choices(PARTS, k=chance.randrange(40)))


def special_strings(folder: TokenizerFolder) -> Iterator[str]:
    """The strings of all added tokens, whole, cut, doubled and inside words."""
    marks = [*SPECIAL, *ADDED]
    for mark in marks:
        yield from (mark, f" {mark} ", f"a{mark}b", mark * 3, f"\n{mark}\n", *(mark[:n] for n in range(len(mark))))
        yield from (f"{mark}{other} {other}{mark[1:]}{other[:-1]}{mark}" for other in marks)


class Comparison:
    """Compares both on batches of texts and counts."""

    def __init__(self, folder: TokenizerFolder) -> None:
        fast = FastEncoder.load(folder)
        if fast is None:
            raise SystemExit("this tokenizer is of another shape, and left to `tokenizers`")
        self.fast, self.plain = fast, Encoder(folder, fast=False)
        self.texts = self.bytes = self.tokens = 0
        self.different: list[str] = []

    def add(self, texts: Iterable[str], batch_bytes: int = 1 << 20) -> Comparison:
        batch: list[str] = []
        size = 0
        for text in texts:
            batch.append(text)
            size += len(text)
            if size >= batch_bytes:
                self._compare(batch)
                batch, size = [], 0
        self._compare(batch)
        return self

    def _compare(self, texts: list[str]) -> None:
        if not texts:
            return
        found = self.fast.encode(texts)
        if found is None:
            raise SystemExit("texts that the native encoder leaves to `tokenizers` altogether")
        ids, ends = found
        theirs = self.plain.encode(texts)
        self.texts += len(texts)
        self.bytes += sum(len(text.encode()) for text in texts)
        self.tokens += len(theirs.ids)
        if np.array_equal(ids, theirs.ids) and np.array_equal(ends, theirs.ends):
            return
        ours = np.split(ids, ends[:-1])
        self.different += [
            text for text, a, b in zip(texts, ours, theirs.split(), strict=True) if not np.array_equal(a, b)
        ]


def documents(paths: Sequence[Path]) -> Iterator[str]:
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(500, columns=["text"]):
            yield from (text for text in batch.column(0).to_pylist() if text is not None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "text", nargs="+", type=Path, help="parquet files with a column text; tokenizers are trained on a part"
    )
    parser.add_argument("--strings", type=int, default=100_000, help="random strings (default: 100000)")
    parser.add_argument("--vocab-size", type=int, default=32_768)
    parser.add_argument("--every", type=int, default=1, help="of the code points every Nth (default: 1)")
    parser.add_argument("--tokenizer", type=Path, help="compare this tokenizer's folder instead")
    options = parser.parse_args()
    sample = list(islice((text for number, text in enumerate(documents(options.text)) if number % 13 == 0), 1500))
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        if options.tokenizer:
            folders = {str(options.tokenizer): open_tokenizer(options.tokenizer)}
        else:
            folders = {
                f"{name}, ignore_merges={ignore}": opened(
                    trained(sample, pattern, ignore, options.vocab_size), Path(temporary) / f"{name}-{ignore}"
                )
                for name, pattern in PATTERNS.items()
                for ignore in (False, True)
            }
        for position, (name, folder) in enumerate(folders.items()):
            parts = {
                "code points": code_points(options.every if position % 2 == 0 else 7 * options.every),
                "special tokens' strings": special_strings(folder),
                "difficult strings": DIFFICULT,
                "random strings": random_strings(options.strings, position),
                # All of the text by our own pattern, and every eighth document by the others.
                "text": documents(options.text)
                if position == 0
                else islice(documents(options.text), position, None, 8),
            }
            for part, texts in parts.items():
                began = time.monotonic()
                found = Comparison(folder).add(texts)
                failed += len(found.different)
                print(
                    f"{name:<28} {part:<24} {found.texts:>9,} texts {found.bytes / 1e6:>8.1f} MB "
                    f"{found.tokens:>11,} ids "
                    f"{len(found.different)} different, {time.monotonic() - began:.0f} s",
                    flush=True,
                )
                for text in found.different[:3]:
                    print(f"    {text[:80]!a}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
