"""Writes the Unicode tables of csrc/text as one C++ file, into the build tree.

    python generate_tables.py unicode_properties.txt unicode_tables.cpp

Normalisation data and general categories come from the pinned unicodedata2, what that lacks (case mappings, word
breaks) from unicode_properties.txt; both must be of the same Unicode version. `tables.h` says what each table holds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import unicodedata2 as unicodedata

CODE_POINTS = 0x110000
# Where characters are assigned. All others are unassigned or of private use, and alike: UNASSIGNED stands for them.
ASSIGNED = [*range(0x40000), *range(0xE0000, 0xE1000)]
UNASSIGNED = 0x50000
BLOCK = 64  # the code points that share all but the last byte of their UTF-8 form
HANGUL_SYLLABLES = range(0xAC00, 0xD7A4)
# Word_Break values in the order of tables.h; Single is our own (each character is a word).
WORD_BREAKS = [
    "Other", "ALetter", "Hebrew_Letter", "Numeric", "Extend", "Format", "ZWJ", "ExtendNumLet", "MidLetter", "MidNum",
    "MidNumLet", "Single_Quote", "Double_Quote", "Regional_Indicator", "WSegSpace", "Newline", "CR", "LF", "Single",
]  # fmt: skip


class Properties:
    """The mappings and sets of unicode_properties.txt."""

    def __init__(self, path: Path) -> None:
        self.mappings: dict[str, dict[int, tuple[int, ...]]] = {}
        self.sets: dict[str, set[int]] = {}
        self.version = ""
        mapping: dict[int, tuple[int, ...]] | None = None
        members: set[int] = set()
        for raw in path.read_text("utf-8").splitlines():
            line = raw.split("#")[0].strip()
            if not line:
                continue
            if line.startswith("@"):
                kind, name = line.split()
                mapping = self.mappings.setdefault(name, {}) if kind == "@mapping" else None
                if kind == "@set":
                    members = self.sets.setdefault(name, set())
                elif kind == "@unicode":
                    self.version = name
            elif mapping is None:
                for item in line.split():
                    first, _, last = item.partition("-")
                    members.update(range(int(first, 16), int(last or first, 16) + 1))
            elif "=" in line:
                code, codes = line.split(" = ")
                mapping[int(code, 16)] = tuple(int(c, 16) for c in codes.split())
            else:
                span, delta = line.split()
                span, _, stride = span.partition("/")
                first, _, last = span.partition("-")
                for code in range(int(first, 16), int(last or first, 16) + 1, int(stride or 1)):
                    mapping[code] = (code + int(delta),)


def of_all(value: Callable[[int], int]) -> list[int]:
    """A value for each code point, in order; what is alike is asked for once."""
    values = [0] * CODE_POINTS
    for code in ASSIGNED:
        values[code] = value(code)
    alike = value(UNASSIGNED)
    for start, stop in ((0x40000, 0xE0000), (0xE1000, CODE_POINTS)):
        values[start:stop] = [alike] * (stop - start)
    return values


def is_surrogate(code: int) -> bool:
    return 0xD800 <= code < 0xE000


def utf8(text: str) -> bytes:
    return text.encode("utf-8")


def integer_rows(values: list[int] | bytes) -> str:
    return "\n".join(",".join(map(str, values[i : i + 40])) + "," for i in range(0, len(values), 40))


class Writer:
    def __init__(self) -> None:
        self.parts = ['#include "text/tables.h"\n\nnamespace smolfast::text {\n']

    def array(self, kind: str, name: str, values: list[int] | bytes) -> None:
        self.parts.append(f"const {kind} {name}[] = {{\n{integer_rows(values)}\n}};\n")

    def structs(self, kind: str, name: str, rows: list[str]) -> None:
        body = "\n".join("{" + row + "}," for row in rows)
        self.parts.append(f"const {kind} {name}[] = {{\n{body}\n}};\n")

    def trie(self, name: str, values: list[int], kind: str) -> None:
        """Two stages: block of `code >> 6`, then the value in the block. Equal blocks are stored once."""
        blocks: dict[tuple[int, ...], int] = {}
        index = [
            blocks.setdefault(tuple(values[start : start + BLOCK]), len(blocks))
            for start in range(0, CODE_POINTS, BLOCK)
        ]
        flat = [value for block in blocks for value in block]
        self.array("uint16_t", f"k{name}Index", index)
        self.array(kind, f"k{name}Values", flat)


class Normalization:
    """What the four forms need to know of each code point."""

    def __init__(self) -> None:
        chars = [chr(c) for c in range(CODE_POINTS)]
        self.ccc = of_all(lambda code: unicodedata.combining(chars[code]))
        self.decomposed = {
            form: {
                c: d
                for c in ASSIGNED
                if not is_surrogate(c) and (d := unicodedata.normalize(form, chars[c])) != chars[c]
            }
            for form in ("NFD", "NFKD")
        }
        self.pairs: dict[tuple[int, int], int] = {}
        for c in self.decomposed["NFD"]:
            if c in HANGUL_SYLLABLES:
                continue
            parts = [int(p, 16) for p in unicodedata.decomposition(chars[c]).split()]
            if len(parts) == 2 and unicodedata.normalize("NFC", chars[c]) == chars[c]:
                self.pairs[parts[0], parts[1]] = c
        self.firsts = {f: i + 1 for i, f in enumerate(sorted({f for f, _ in self.pairs}))}
        self.seconds = {s: i + 1 for i, s in enumerate(sorted({s for _, s in self.pairs}))}
        # Hangul vowels and final consonants join to what stands before them, too.
        self.joins_back = set(self.seconds) | set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))
        self.changed = {
            form: {c for c in ASSIGNED if not is_surrogate(c) and unicodedata.normalize(form, chars[c]) != chars[c]}
            for form in ("NFC", "NFKC", "NFD", "NFKD")
        }
        # A character at which a scan must stop: it changes, may join to the one before, or must be put in order.
        order = {c for c in ASSIGNED if self.ccc[c]}
        self.attention = {
            "NFC": self.changed["NFC"] | self.joins_back,
            "NFKC": self.changed["NFKC"] | self.joins_back,
            "NFD": self.changed["NFD"],
            "NFKD": self.changed["NFKD"],
        }
        for form in ("NFC", "NFKC"):
            self.attention[form] |= {c for c in self.decomposed["NFKD"] if not self.starts_segment(c, form)}
        self.stops = {form: codes | order for form, codes in self.attention.items()}

    def starts_segment(self, code: int, form: str) -> bool:
        """Nothing before `code` can join with it or be reordered past it."""
        compatibility = "K" in form
        first = ord(self.decomposed["NFKD" if compatibility else "NFD"].get(code, chr(code))[0])
        return not self.ccc[first] and not (form.endswith("C") and first in self.joins_back)

    def write(self, out: Writer) -> None:
        pool = bytearray()
        places: dict[bytes, int] = {}

        def place(code: int, form: str) -> tuple[int, int]:
            text = self.decomposed[form].get(code)
            if text is None or code in HANGUL_SYLLABLES:
                return 0, 0
            data = utf8(text)
            if data not in places:
                found = pool.find(data)
                places[data] = found if found >= 0 else len(pool)
                if found < 0:
                    pool.extend(data)
            return places[data], len(data)

        forms = ("NFC", "NFKC", "NFD", "NFKD")
        records: dict[tuple[int, ...], int] = {}

        def number(code: int) -> int:
            flags = 0
            for bit, form in enumerate(forms):
                flags |= (code in self.attention[form]) << bit
                flags |= self.starts_segment(code, form) << (4 + bit)
            alone = sum(
                bit
                for bit, composed, decomposed in ((1, "NFC", "NFD"), (2, "NFKC", "NFKD"))
                if code in self.changed[composed]
                and unicodedata.normalize(composed, chr(code)) == self.decomposed[decomposed].get(code)
            )
            record = (
                *place(code, "NFD"), *place(code, "NFKD"),
                self.ccc[code], flags, self.firsts.get(code, 0), self.seconds.get(code, 0), alone,
            )  # fmt: skip
            return records.setdefault(record, len(records))

        values = of_all(number)
        assert len(pool) < 65536 - 64
        pool.extend(bytes(64))  # decompositions are copied in whole vectors
        out.trie("Norm", values, "uint16_t")
        out.structs(
            "NormRecord", "kNormRecords", [",".join(map(str, (r[0], r[2], *r[4:8], r[1], r[3], r[8]))) for r in records]
        )
        out.array("uint8_t", "kDecompositions", bytes(pool))
        width = len(self.seconds) + 1
        supplementary: list[int] = [0]
        matrix = [0] * ((len(self.firsts) + 1) * width)
        for (first, second), composed in self.pairs.items():
            value = composed
            if composed > 0xFFFF:
                value = len(supplementary)
                supplementary.append(composed)
            matrix[self.firsts[first] * width + self.seconds[second]] = value
        assert len(supplementary) < 0xC0  # the smallest composed character in the basic plane
        out.parts.append(f"const uint32_t kCompositionWidth = {width};\n")
        out.array("uint16_t", "kCompositions", matrix)
        out.array("uint32_t", "kSupplementaryCompositions", supplementary)
        marks = range(0x300, 0x380)
        out.array("uint16_t", "kLatinCompositions", [self.pairs.get((c, m), 0) for m in marks for c in range(64, 128)])
        bases = range(0x3040, 0x3100)
        out.array("uint16_t", "kKanaCompositions", [self.pairs.get((c, m), 0) for m in (0x3099, 0x309A) for c in bases])
        for form in forms:
            write_scan_tables(out, form, self.stops[form])


# How often a lead byte, or a lead and second byte, stands in real text: what a needless stop there costs.
COMMON_LEADS = {
    **dict.fromkeys([0xC3, 0xD0, 0xD1, 0xD8, 0xD9, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9], 100),
    **dict.fromkeys([0xCE, 0xCF, 0xE0, 0xEB, 0xEC, 0xED, 0xEA], 60),
    **dict.fromkeys([0xC2, 0xC4, 0xC5, 0xD2, 0xD3, 0xD6, 0xD7, 0xDA, 0xDB, 0xE1], 25),
    0xF0: 10,
}
COMMON_PAIRS = {
    **{(0xC2, second): 2000 for second in (0xA0, 0xA9, 0xAB, 0xBB)},  # no-break space, copyright sign, guillemets
    **{(0xC3, second): 1000 for second in range(0xA0, 0xC0)},  # small letters: Latin
    **{(0xD0, second): 500 for second in range(0xB0, 0xC0)},  # and Cyrillic
    **{(0xD1, second): 500 for second in range(0x80, 0x90)},
    (0xC5, 0x93): 500,  # the ligature oe
    **{(0xD8, second): 1000 for second in range(0xA7, 0xBB)},  # Arabic letters
    **{(0xD9, second): 1000 for second in range(0x81, 0x8B)},
    (0xE1, 0x84): 1000,  # leading consonants of conjoining jamo
    **{(0xE1, second): 300 for second in range(0xB8, 0xBC)},  # Vietnamese
    **{(0xEA, second): 200 for second in range(0xB0, 0xC0)},  # Hangul syllables
    **{(lead, second): 200 for lead in (0xEB, 0xEC) for second in range(0x80, 0xC0)},
}
# Leads judged by second and third byte: kana; punctuation, symbols and fullwidth forms.
KANA_LEADS = {0xE3}
SYMBOL_LEADS = {0xE2, 0xEF}


def cover(cells: dict[tuple[int, int], float], allowed: set[tuple[int, int]]) -> list[list[int]]:
    """Four 16-byte tables whose lookups (high and low nibble of a byte pair) share a bit for every pair in `allowed`.

    Eight rectangles in nibble space that hold all of `allowed` and, greedily, as little weight of other `cells` as can
    be: the vector form of a 65,536-bit set.
    """

    def cost(rectangle: tuple[frozenset[int], ...]) -> float:
        hi_a, lo_a, hi_b, lo_b = rectangle
        total = 0.0
        for ha in hi_a:
            for la in lo_a:
                for hb in hi_b:
                    for lb in lo_b:
                        pair = (ha << 4 | la, hb << 4 | lb)
                        if pair not in allowed:
                            total += cells.get(pair, 0.0)
        return total

    def union(a: tuple[frozenset[int], ...], b: tuple[frozenset[int], ...]) -> tuple[frozenset[int], ...]:
        return tuple(x | y for x, y in zip(a, b, strict=True))

    rows: dict[tuple[int, int], set[int]] = {}
    for a, b in allowed:
        rows.setdefault((a, b >> 4), set()).add(b & 15)
    groups: dict[tuple[int, frozenset[int]], set[int]] = {}
    for (a, hb), lows in rows.items():
        groups.setdefault((a, frozenset(lows)), set()).add(hb)
    rectangles = [
        (frozenset({a >> 4}), frozenset({a & 15}), frozenset(hbs), lows)
        for (a, lows), hbs in sorted(groups.items(), key=repr)
    ]
    costs = [cost(r) for r in rectangles]
    joined: dict[tuple[int, int], float] = {}

    def price(i: int, j: int) -> float:
        return cost(union(rectangles[i], rectangles[j])) - costs[i] - costs[j]

    alive = list(range(len(rectangles)))
    for i in alive:
        for j in alive:
            if i < j:
                joined[i, j] = price(i, j)
    while len(alive) > 8:
        i, j = min(joined, key=lambda pair: (joined[pair], pair))
        rectangles[i] = union(rectangles[i], rectangles[j])
        costs[i] = cost(rectangles[i])
        alive.remove(j)
        joined = {pair: c for pair, c in joined.items() if i not in pair and j not in pair}
        for k in alive:
            if k != i:
                joined[min(i, k), max(i, k)] = price(min(i, k), max(i, k))
    tables = [[0] * 16 for _ in range(4)]
    for bit, index in enumerate(alive):
        for table, nibbles in zip(tables, rectangles[index], strict=True):
            for nibble in nibbles:
                table[nibble] |= 1 << bit
    return tables


def write_scan_tables(out: Writer, form: str, stops: set[int]) -> None:
    pairs: set[tuple[int, int]] = set()
    kana: set[tuple[int, int]] = set()
    symbols: set[tuple[int, int]] = set()
    for code in stops:
        if code < 0x80 or is_surrogate(code):
            continue
        data = utf8(chr(code))
        if data[0] in KANA_LEADS:
            kana.add((data[1], data[2]))
        elif data[0] in SYMBOL_LEADS:
            symbols.add((data[1], data[2]))
        else:
            pairs.add((data[0], data[1]))
    assert not any(code < 0x80 for code in stops)
    continuations = range(0x80, 0xC0)
    pair_cells = {
        (lead, second): COMMON_PAIRS.get((lead, second), COMMON_LEADS.get(lead, 1))
        for lead in range(0xC2, 0xF5) if lead not in KANA_LEADS | SYMBOL_LEADS for second in continuations
    }  # fmt: skip
    # Kana from 81 to 83 after the lead; dashes and quotes at E2 80, box drawing at E2 94, fullwidth forms at EF BC on.
    kana_cells = {(b, c): 10 if 0x81 <= b <= 0x83 else 1 for b in continuations for c in continuations}
    common = {0x80: 20, 0xBC: 20, 0xBD: 5, 0x94: 5}
    symbol_cells = {(b, c): common.get(b, 1) for b in continuations for c in continuations}
    groups = [cover(*group) for group in ((pair_cells, pairs), (kana_cells, kana), (symbol_cells, symbols))]
    braced = ",".join("{" + ",".join("{" + ",".join(map(str, t)) + "}" for t in tables) + "}" for tables in groups)
    out.parts.append(f"const ScanTables kScan{form} = {{{braced}}};\n")


def write_case(out: Writer, name: str, mapping: dict[int, tuple[int, ...]]) -> None:
    records: dict[bytes, int] = {b"": 0}
    values = [0] * CODE_POINTS
    for code in sorted(mapping):
        data = utf8("".join(map(chr, mapping[code])))
        assert len(data) <= 7
        values[code] = records.setdefault(data, len(records))
    out.trie(name, values, "uint16_t")
    write_scan_tables(out, name, {code for code in mapping if code >= 0x80})
    out.structs("CaseRecord", f"k{name}Records", [",".join(map(str, (*r.ljust(7, b"\0"), len(r)))) for r in records])


def word_break(code: int, sets: dict[str, set[int]], classes: dict[int, int]) -> int:
    category = unicodedata.category(chr(code))
    found = classes.get(code, 0)
    # One word each: kana, and letters that no rule joins (Han, Thai, Lao, Khmer and other scripts without spaces).
    if code in sets["Script=Kana"] and category[0] in "LN":
        return WORD_BREAKS.index("Single")
    if found == 0 and (category[0] in "LN" or code in sets["Alphabetic"]):
        return WORD_BREAKS.index("Single")
    return found


# What datatrove 0.10.1 turns into spaces (datatrove.utils.text.PUNCTUATION, a fact to be compatible with), and the
# decimal separators of its NUMBERS_PATTERN.
DATATROVE_PUNCTUATION = {
    *map(ord, "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"),
    *range(10), *range(11, 32), *range(127, 160),
}  # fmt: skip
NUMBER_SEPARATORS = {*map(ord, ".,،٫⎖⎗⎘")}


def write_characters(out: Writer, properties: Properties, normalization: Normalization) -> None:
    sets = properties.sets
    classes: dict[int, int] = {}
    for index, name in enumerate(WORD_BREAKS):
        if name not in ("Other", "Single"):
            for code in sets[f"Word_Break={name}"]:
                classes.setdefault(code, index)
    out.trie("WordBreak", of_all(lambda code: word_break(code, sets, classes)), "uint8_t")

    def kind(code: int) -> int:
        category = unicodedata.category(chr(code))
        bits = (
            category == "Nd",
            category == "Mn",
            code in sets["White_Space"] or 0x1C <= code <= 0x1F,  # as Python's str.isspace
            code in sets["Cased"],
            code in sets["Case_Ignorable"],
            category[0] in "LN",
            category == "Cc",
            code in sets["Extended_Pictographic"],
            code in DATATROVE_PUNCTUATION,
            code in NUMBER_SEPARATORS,
            code in properties.mappings["lower"],
            code in normalization.decomposed["NFD"],
            normalization.ccc[code] != 0,
            category[0] == "L",
            category == "Cn" or code in sets["Recent"],
        )
        return sum(bit << i for i, bit in enumerate(bits))

    out.trie("Kind", of_all(kind), "uint16_t")


def write_simple(out: Writer, properties: Properties, normalization: Normalization) -> None:
    """Lower case, decomposed, without nonspacing marks: what simplify makes of most letters, by its default options."""
    lower = properties.mappings["lower"]
    simple: dict[int, tuple[int, ...]] = {}
    for code in lower.keys() | normalization.decomposed["NFD"].keys():
        if code in HANGUL_SYLLABLES or code == 0x3A3:  # capital sigma depends on what stands around it
            continue
        text = unicodedata.normalize("NFD", "".join(map(chr, lower.get(code, (code,)))))
        kept = tuple(ord(c) for c in text if unicodedata.category(c) != "Mn")
        if kept and not any(normalization.ccc[c] for c in kept) and len(utf8("".join(map(chr, kept)))) <= 7:
            simple[code] = kept
    write_case(out, "Simple", simple)


def main() -> None:
    properties = Properties(Path(sys.argv[1]))
    if properties.version != unicodedata.unidata_version:
        sys.exit(
            f"unicode_properties.txt is of Unicode {properties.version}, unicodedata2 of {unicodedata.unidata_version}"
        )
    others = {*range(CODE_POINTS)}.difference(ASSIGNED)
    assert {unicodedata.category(chr(code)) for code in others} == {"Cn", "Co"}
    out = Writer()
    out.parts.append(f'const char kUnicodeVersion[] = "{properties.version}";\n')
    normalization = Normalization()
    normalization.write(out)
    write_case(out, "Lower", properties.mappings["lower"])
    write_case(out, "Fold", properties.mappings["fold"])
    write_simple(out, properties, normalization)
    write_characters(out, properties, normalization)
    out.parts.append("}  // namespace smolfast::text\n")
    Path(sys.argv[2]).write_text("\n".join(out.parts), "utf-8")


if __name__ == "__main__":
    main()
