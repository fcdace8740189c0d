"""The large comparisons with other libraries, too long for the test suite. Each exits with 1 at the first difference.

    python tests/check_text.py unicode [--strings 1000000]      # unicodedata2, and Python's lower and casefold
    python tests/check_text.py simplify --cache FOLDER [--strings 100000]      # datatrove, real and random documents
    python tests/check_text.py mojibake CASES.json …            # ftfy's own, tests/test-cases in its repository

Random strings are mixtures: runs of one script, marks of many classes, jamo and syllables, kana with voicing marks,
compatibility characters, white space, digits, anything. The first two run under every implementation this CPU has.

Beside the package: `pip install unicodedata2==18.0.0`, and for `simplify` `pip install datatrove==0.10.1 regex`.
"""

from __future__ import annotations

import argparse
import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import unicodedata2

from smolfast import _native, text

CODE_POINTS = np.array([c for c in range(0x110000) if not 0xD800 <= c < 0xE000], np.uint32)
BATCH = 50_000


def _where(holds: Callable[[str], Any]) -> npt.NDArray[np.uint32]:
    return np.array([c for c in CODE_POINTS.tolist() if holds(chr(c))], np.uint32)


def _pools() -> list[npt.NDArray[np.uint32]]:
    return [
        np.frombuffer("aeiouyzAEOZ .,'-\n\t019".encode("utf-32-le"), np.uint32),
        np.arange(0xC0, 0x250, dtype=np.uint32),
        np.arange(0x370, 0x530, dtype=np.uint32),
        np.arange(0x590, 0x700, dtype=np.uint32),
        np.arange(0x900, 0xE80, dtype=np.uint32),
        np.arange(0x1100, 0x1200, dtype=np.uint32),
        np.arange(0x1E00, 0x2000, dtype=np.uint32),
        np.arange(0x3040, 0x3100, dtype=np.uint32),
        np.arange(0x4E00, 0xA000, dtype=np.uint32),
        np.arange(0xAC00, 0xD7A4, dtype=np.uint32),
        np.frombuffer(
            "\u0300\u0301\u0302\u0323\u0327\u0338\u0345\u05b0\u3099\u0c56\u302e".encode("utf-32-le"), np.uint32
        ),
        _where(unicodedata2.combining),
        _where(unicodedata2.decomposition),
        _where(lambda c: unicodedata2.category(c) in ("Nd", "Zs", "Cc", "Cf")),
        CODE_POINTS,
    ]


def random_strings(count: int, seed: int, known: Callable[[str], bool] | None = None) -> Iterator[list[str]]:
    """Lists of up to `BATCH` strings of 0 to 60 characters, all of which are `known`."""
    pools = _pools()
    if known is not None:
        pools = [np.array([c for c in pool.tolist() if known(chr(c))], np.uint32) for pool in pools]
    random = np.random.default_rng(seed)
    for start in range(0, count, BATCH):
        sizes = random.integers(0, 61, min(BATCH, count - start))
        total = int(sizes.sum())
        # Each string keeps to a script of its own, with two in five characters from anywhere.
        of_string = np.repeat(random.integers(0, len(pools), len(sizes)), sizes)
        which = np.where(random.random(total) < 0.6, of_string, random.integers(0, len(pools), total))
        codes = np.empty(total, np.uint32)
        for index, pool in enumerate(pools):
            places = which == index
            codes[places] = pool[random.integers(0, len(pool), int(places.sum()))]
        joined = codes.astype("<u4").tobytes().decode("utf-32-le")
        ends = np.cumsum(sizes).tolist()
        yield [joined[end - size : end] for end, size in zip(ends, sizes.tolist(), strict=True)]


def compare(
    what: str, strings: Sequence[str], run: Callable[[pa.Array], pa.Array], expected: Sequence[str]
) -> pa.Array:
    """What every implementation makes of the strings; exits if one differs from what is expected."""
    column, wanted = pa.array(strings, pa.large_string()), pa.array(expected, pa.large_string())
    got = wanted
    for name in _native.implementations():
        _native.force_implementation(name)
        got = run(column)
        if not got.equals(wanted):
            for string, have, want in zip(strings, got.to_pylist(), expected, strict=True):
                if have != want:
                    sys.exit(f"{what} under {name}: {string!a} gives {have!a}, expected {want!a}")
    return got


def check_unicode(count: int, seed: int) -> None:
    print(f"Unicode {text.unicode_version} here, {unicodedata.unidata_version} in Python")
    everything = [chr(c) for c in CODE_POINTS.tolist()]

    def forms(strings: Sequence[str]) -> None:
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            expected = [unicodedata2.normalize(form, s) for s in strings]
            once = compare(form, strings, lambda c, form=form: text.normalize(c, form), expected)
            if text.normalize(once, form) is not once:
                sys.exit(f"{form}: normalising twice changes something")

    def known(char: str) -> bool:
        # Python's Unicode version may be older; what it assigns it folds for good.
        return unicodedata.category(char) != "Cn"

    def cases(strings: Sequence[str]) -> None:
        compare("casefold", strings, text.casefold, [s.casefold() for s in strings])
        compare("lower", strings, text.lower, [s.lower() for s in strings])

    forms(everything)
    assigned = [char for char in everything if known(char)]
    cases(assigned)
    # Surrogates have no UTF-8 form: a str that holds one is refused, which the test suite checks.
    print(f"{len(everything):,} code points (all but surrogates) in four forms, {len(assigned):,} in both cases: equal")
    done = 0
    for strings in random_strings(count, seed):
        forms(strings)
        done += len(strings)
    print(f"{done:,} random strings in four forms: equal; normalised twice: unchanged")
    done = 0
    for strings in random_strings(count, seed + 1, known):
        cases(strings)
        done += len(strings)
    print(f"{done:,} random strings in lower and casefold: equal")


def check_simplify(cache: Path, count: int, seed: int) -> None:
    from datatrove.utils.text import simplify_text

    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    from bench_text import documents

    # Sections of real documents, each its own document.
    sections: dict[str, dict[str, None]] = {}
    for language, found in documents(cache.expanduser()).items():
        of_language = sections.setdefault(language, {})
        for document in found:
            for section in document.split("\n\n") if "\n\n" in document else document.split("\n"):
                if len(section) >= 40:
                    of_language[section] = None
    shown = Counter({language: len(of_language) for language, of_language in sections.items()})
    real = [section for of_language in sections.values() for section in of_language]
    for start in range(0, len(real), BATCH):
        part = real[start : start + BATCH]
        compare("simplify", part, text.simplify, [simplify_text(s) for s in part])
    size = sum(len(s.encode()) for s in real) / 1e6
    print(f"{len(real):,} real documents, {size:.0f} MB, {len(shown)} languages {dict(shown.most_common())}: equal")

    def known(char: str) -> bool:
        # datatrove takes categories and numbers from Python's Unicode, in which a few characters had another.
        return unicodedata.category(char) == unicodedata2.category(char)

    done = 0
    for strings in random_strings(count, seed, known):
        compare("simplify", strings, text.simplify, [simplify_text(s) for s in strings])
        done += len(strings)
    print(f"{done:,} random strings: equal")


def check_mojibake(files: Sequence[Path]) -> None:
    import ftfy

    # Its default is fix_encoding: what is done beyond it (quotes, width, line ends, …) is not about encodings.
    same, others = 0, []
    for case in [case for file in files for case in json.loads(file.read_text("utf-8"))]:
        original = case["original"]
        expected = ftfy.fix_encoding(original)
        got = text.fix_mojibake([original])[0].as_py()
        if got == expected:
            same += 1
        else:
            others.append((case["label"], original, expected, got))
    print(f"{same} of {same + len(others)} cases as ftfy.fix_encoding; the others:")
    for label, original, expected, got in others:
        state = "left alone" if got == original else f"gives {got!r}"
        print(f"- {label}: {original!r} is {expected!r} in ftfy; {state}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="CHECK")
    unicode = commands.add_parser("unicode")
    unicode.add_argument("--strings", type=int, default=1_000_000)
    unicode.set_defaults(run=lambda a: check_unicode(a.strings, a.seed))
    simplify = commands.add_parser("simplify")
    simplify.add_argument("--cache", type=Path, required=True, help="folder for downloaded documents")
    simplify.add_argument("--strings", type=int, default=100_000)
    simplify.set_defaults(run=lambda a: check_simplify(a.cache, a.strings, a.seed))
    mojibake = commands.add_parser("mojibake")
    mojibake.add_argument("cases", type=Path, nargs="+", metavar="CASES.json")
    mojibake.set_defaults(run=lambda a: check_mojibake(a.cases))
    for command in (unicode, simplify):
        command.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
