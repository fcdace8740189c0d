"""Regular expressions of Python's `re` as deterministic automata over classes of characters."""

from __future__ import annotations

import re
import re._parser as sre
from collections.abc import Iterable
from functools import lru_cache

Ranges = tuple[tuple[int, int], ...]  # inclusive, ascending
LAST = 0x10FFFF
BOS, EOS = "BOS", "EOS"  # what stands before and after a string
EVERY = "".join(chr(c) for c in range(LAST + 1) if not 0xD800 <= c <= 0xDFFF)


def runs(codes: list[int]) -> Ranges:
    out: list[list[int]] = []
    for code in codes:
        if out and out[-1][1] == code - 1:
            out[-1][1] = code
        else:
            out.append([code, code])
    return tuple((a, b) for a, b in out)


def normalised(ranges: list[tuple[int, int]]) -> Ranges:
    out: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], high))
        else:
            out.append((low, high))
    return tuple(out)


def complement(ranges: Ranges) -> Ranges:
    out = []
    at = 0
    for low, high in ranges:
        if at < low:
            out.append((at, low - 1))
        at = high + 1
    if at <= LAST:
        out.append((at, LAST))
    return tuple(out)


@lru_cache(None)
def matched_by(pattern: str, flags: int) -> Ranges:
    return runs([ord(c) for c in re.findall(pattern, EVERY, flags)])


CATEGORIES = {"CATEGORY_SPACE": r"\s", "CATEGORY_WORD": r"\w", "CATEGORY_DIGIT": r"\d",
              "CATEGORY_NOT_SPACE": r"\S", "CATEGORY_NOT_WORD": r"\W", "CATEGORY_NOT_DIGIT": r"\D"}  # fmt: skip


def escaped(code: int) -> str:
    return f"\\U{code:08x}"


def charset(op: str, value, flags: int) -> Ranges:
    """The characters that one node takes."""
    ignore = flags & re.IGNORECASE
    if op == "ANY":
        return complement(((10, 10),))
    if op == "LITERAL":
        return matched_by(escaped(value), flags) if ignore else ((value, value),)
    if op == "NOT_LITERAL":
        return complement(charset("LITERAL", value, flags))
    assert op == "IN"
    items = [(str(o), v) for o, v in value]
    negate = items[0][0] == "NEGATE"
    if negate:
        items = items[1:]
    if ignore:
        text = ""
        for o, v in items:
            if o == "CATEGORY":
                text += CATEGORIES[str(v)]
            else:
                text += escaped(v) if o == "LITERAL" else f"{escaped(v[0])}-{escaped(v[1])}"
        found = matched_by(f"[{text}]", flags)
    else:
        ranges: list[tuple[int, int]] = []
        for o, v in items:
            if o == "LITERAL":
                ranges.append((v, v))
            elif o == "RANGE":
                ranges.append(v)
            else:
                ranges.extend(matched_by(CATEGORIES[str(v)], 0))
        found = normalised(ranges)
    return complement(found) if negate else found


class Unsupported(Exception):
    pass


def node_name(node) -> str:
    return str(node[0])


def holds_assertion(seq) -> bool:
    for node in seq:
        name = node_name(node)
        if name in ("ASSERT", "ASSERT_NOT", "AT"):
            return True
        if name == "BRANCH" and any(holds_assertion(s) for s in node[1][1]):
            return True
        if name == "SUBPATTERN" and holds_assertion(node[1][3]):
            return True
        if name in ("MAX_REPEAT", "MIN_REPEAT") and holds_assertion(node[1][2]):
            raise Unsupported("an assertion inside a repetition")
    return False


def alternatives(seq) -> list[list]:
    """The sequence as alternatives in order, none of which has assertions inside branches."""
    out: list[list] = [[]]
    for node in seq:
        name = node_name(node)
        if name == "SUBPATTERN" and holds_assertion(node[1][3]):
            parts = alternatives(node[1][3])
        elif name == "BRANCH" and any(holds_assertion(s) for s in node[1][1]):
            parts = [alt for s in node[1][1] for alt in alternatives(s)]
        else:
            parts = [[node]]
        out = [head + part for head in out for part in parts]
    return out


class Nfa:
    """States are ("char", symbols, next), ("split", [next, …]) and ("match", k), k symbols after the match's end.

    Symbols are a frozenset of BOS, EOS and one Ranges.
    """

    def __init__(self) -> None:
        self.states: list[tuple] = []

    def add(self, *state) -> int:
        self.states.append(state)
        return len(self.states) - 1

    def char(self, ranges: Ranges, following: int, *, bos: bool = False, eos: bool = False) -> int:
        return self.add("char", ranges, bos, eos, following)

    def sequence(self, seq, following: int, flags: int, reverse: bool) -> int:
        nodes = list(seq)
        for node in nodes if reverse else reversed(nodes):
            following = self.node(node, following, flags, reverse)
        return following

    def node(self, node, following: int, flags: int, reverse: bool) -> int:
        name = node_name(node)
        if name in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
            return self.char(charset(name, node[1], flags), following)
        if name == "BRANCH":
            return self.add("split", [self.sequence(s, following, flags, reverse) for s in node[1][1]])
        if name == "SUBPATTERN":
            _, on, off, inner = node[1]
            return self.sequence(inner, following, (flags | on) & ~off, reverse)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, inner = node[1]
            greedy = name == "MAX_REPEAT"
            if high == sre.MAXREPEAT:
                loop = self.add("split", None)
                body = self.sequence(inner, loop, flags, reverse)
                self.states[loop] = ("split", [body, following] if greedy else [following, body])
                following = loop
            else:
                # Each optional copy may be taken or skipped.
                for _ in range(high - low):
                    body = self.sequence(inner, following, flags, reverse)
                    following = self.add("split", [body, following] if greedy else [following, body])
            for _ in range(low):
                following = self.sequence(inner, following, flags, reverse)
            return following
        raise Unsupported(name)


def width(seq) -> int:
    low, high = sre.SubPattern(sre.State(), list(seq)).getwidth()
    if low != high:
        raise Unsupported("an assertion of varying width")
    return low


def lookahead(nfa: Nfa, seq, flags: int) -> int:
    """States that take what a lookahead asks for, then match."""
    parts = alternatives(seq)
    if len(parts) == 1 and len(seq) == 1 and node_name(seq[0]) == "BRANCH":
        parts = [list(s) for s in seq[0][1][1]]
    starts = []
    for part in parts:
        if part and node_name(part[-1]) == "AT" and "END" in str(part[-1][1]):
            inner = part[:-1]
            end = nfa.char((), nfa.add("match", width(inner) + 1), eos=True)
            starts.append(nfa.sequence(inner, end, flags, False))
        else:
            starts.append(nfa.sequence(part, nfa.add("match", width(part)), flags, False))
    return starts[0] if len(starts) == 1 else nfa.add("split", starts)


def split_alternative(seq) -> tuple[list, list, list]:
    """Assertions before, the body, and assertions after; `^` and `$` count as assertions."""
    nodes = list(seq)
    before, after = [], []
    while nodes and (
        (node_name(nodes[0]) in ("ASSERT", "ASSERT_NOT") and nodes[0][1][0] < 0)
        or (node_name(nodes[0]) == "AT" and "BEGINNING" in str(nodes[0][1]))
    ):
        before.append(nodes.pop(0))
    while nodes and (
        (node_name(nodes[-1]) in ("ASSERT", "ASSERT_NOT") and nodes[-1][1][0] > 0)
        or (node_name(nodes[-1]) == "AT" and "END" in str(nodes[-1][1]))
    ):
        after.insert(0, nodes.pop())
    if holds_assertion(nodes):
        raise Unsupported("an assertion in the middle")
    return before, nodes, after


def has_empty(pattern: str) -> bool:
    """Whether the pattern may match an empty string."""
    return sre.parse(pattern).getwidth()[0] == 0


def forward(pattern: str, flags: int, *, context: bool = False, empty: bool = True) -> tuple[Nfa, int, int]:
    """For matches from a place on: the states, the first, and how many symbols before that place it begins to read at.

    Without `context` that is none, and assertions before the body may only be `^`, which is dropped. Unless `empty`,
    alternatives that match nothing are left out.
    """
    nfa = Nfa()
    parsed = sre.parse(pattern, flags)
    flags = parsed.state.flags
    starts = []
    parts = [split_alternative(a) for a in alternatives(parsed)]
    if not empty:
        parts = [part for part in parts if part[1]]
    size = 0
    for before, _, _ in parts:
        need = 0
        for node in before:
            if node_name(node) == "AT":
                need = max(need, int(context))
                continue
            inner = list(node[1][1])
            need = max(
                need, width([n for n in inner if node_name(n) != "AT"]) + sum(node_name(n) == "AT" for n in inner)
            )
        size = max(size, need)
    for before, body, after in parts:
        asserts = [n for n in after if node_name(n) != "AT"]
        ends = [n for n in after if node_name(n) == "AT"]
        if len(asserts) + len(ends) > 1:
            raise Unsupported("two assertions after")
        if ends:
            tail = nfa.char((), nfa.add("match", 1), eos=True)
        elif not asserts:
            tail = nfa.add("match", 0)
        elif node_name(asserts[0]) == "ASSERT":
            tail = lookahead(nfa, asserts[0][1][1], flags)
        else:
            inner = list(asserts[0][1][1])
            if len(inner) != 1 or node_name(inner[0]) not in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
                raise Unsupported("a negative lookahead of more than one character")
            tail = nfa.char(complement(charset(node_name(inner[0]), inner[0][1], flags)), nfa.add("match", 1), eos=True)
        at = nfa.sequence(body, tail, flags, False)
        if context:
            anything = ((0, LAST),)
            if len(before) > 1:
                raise Unsupported("two assertions before")
            taken = 0
            for node in before:
                if node_name(node) == "AT":
                    at = nfa.char((), at, bos=True)
                    taken = 1
                    continue
                inner = list(node[1][1])
                if node_name(node) == "ASSERT_NOT":
                    if len(inner) != 1:
                        raise Unsupported("a negative lookbehind of more than one character")
                    at = nfa.char(complement(charset(node_name(inner[0]), inner[0][1], flags)), at, bos=True)
                    taken = 1
                    continue
                for n in reversed(inner):
                    taken += 1
                    at = nfa.char((), at, bos=True) if node_name(n) == "AT" else nfa.node(n, at, flags, False)
            for _ in range(size - taken):
                at = nfa.char(anything, at, bos=True)
        elif any(node_name(n) != "AT" for n in before):
            raise Unsupported("a lookbehind")
        starts.append(at)
    return nfa, nfa.add("split", starts), size


def backward(pattern: str, flags: int) -> tuple[Nfa, int]:
    """For suffixes, read from the string's end towards its start."""
    nfa = Nfa()
    parsed = sre.parse(pattern, flags)
    flags = parsed.state.flags
    starts = []
    for part in alternatives(parsed):
        before, body, after = split_alternative(part)
        for node in after:
            if node_name(node) != "AT":
                raise Unsupported("a lookahead in a suffix")
        if not after:
            raise Unsupported("a suffix that isn't at the end")
        if len(before) > 1:
            raise Unsupported("two assertions before")
        if not before:
            tail = nfa.add("match", 0)
        elif node_name(before[0]) == "AT":
            tail = nfa.char((), nfa.add("match", 1), bos=True)
        else:
            inner = list(before[0][1][1])
            if node_name(before[0]) == "ASSERT":
                tail = nfa.sequence(inner, nfa.add("match", width(inner)), flags, True)
            else:
                if len(inner) != 1:
                    raise Unsupported("a negative lookbehind of more than one character")
                tail = nfa.char(
                    complement(charset(node_name(inner[0]), inner[0][1], flags)), nfa.add("match", 1), bos=True
                )
        starts.append(nfa.sequence(body, tail, flags, True))
    return nfa, nfa.add("split", starts)


def cuts_of(sets: Iterable[Ranges]) -> list[int]:
    """Where stretches of characters begin that all the sets hold or lack as a whole; the last is past the end."""
    return sorted({0, LAST + 1}.union(*({low, high + 1} for ranges in sets for low, high in ranges)))


def segments_of(sets: list[Ranges], cuts: list[int]) -> list[int]:
    """For each stretch between cuts a number whose bits say which sets hold it."""
    place = {c: i for i, c in enumerate(cuts)}
    bits = [0] * (len(cuts) - 1)
    for index, ranges in enumerate(sets):
        for low, high in ranges:
            for i in range(place[low], place[high + 1]):
                bits[i] |= 1 << index
    return bits


class Dfa:
    """next[state][column]; columns are classes of characters, then BOS, then EOS. State 0 is dead, 1 the first.

    accept[state] is how many symbols after the match's end were read, or -1 where nothing ends.
    """

    def __init__(self, nfa: Nfa, start: int, cuts: list[int], *, ordered: bool) -> None:
        sets = list(dict.fromkeys(s[1] for s in nfa.states if s[0] == "char"))
        bits = segments_of(sets, cuts)
        signatures = list(dict.fromkeys(bits))
        number = {s: i for i, s in enumerate(signatures)}
        self.column_of_segment = [number[b] for b in bits]
        columns = len(signatures)
        self.bos, self.eos = columns, columns + 1
        self.columns = columns + 2
        set_number = {s: i for i, s in enumerate(sets)}
        takes: list[list[bool] | None] = []
        for state in nfa.states:
            if state[0] != "char":
                takes.append(None)
                continue
            bit = 1 << set_number[state[1]]
            takes.append([bool(s & bit) for s in signatures] + [state[2], state[3]])

        def close(heads: list[int]) -> tuple[int, ...]:
            seen: set[int] = set()
            out: list[int] = []
            stack = list(reversed(heads))
            while stack:
                s = stack.pop()
                if s in seen:
                    continue
                seen.add(s)
                kind = nfa.states[s][0]
                if kind == "split":
                    stack.extend(reversed(nfa.states[s][1]))
                    continue
                out.append(s)
                if kind == "match" and ordered:
                    break
            return tuple(out) if ordered else tuple(sorted(out))

        first = close([start])
        states: dict[tuple[int, ...], int] = {(): 0, first: 1}
        order = [(), first]
        self.next: list[list[int]] = []
        self.accept: list[int] = []
        at = 0
        while at < len(order):
            members = order[at]
            at += 1
            matches = [nfa.states[s][1] for s in members if nfa.states[s][0] == "match"]
            self.accept.append(min(matches) if matches else -1)
            row = []
            moving = [(takes[s], nfa.states[s][4]) for s in members if nfa.states[s][0] == "char"]
            for column in range(self.columns):
                target = close([following for taken, following in moving if taken[column]])
                if target not in states:
                    states[target] = len(order)
                    order.append(target)
                row.append(states[target])
            self.next.append(row)
        self.minimise()

    def minimise(self) -> None:
        block = [a + 1 for a in self.accept]
        block[0] = -1 if self.accept[0] == -1 else block[0]
        count = 0
        while True:
            keys: dict[tuple, int] = {}
            new = []
            for s, row in enumerate(self.next):
                new.append(keys.setdefault((block[s], *(block[t] for t in row)), len(keys)))
            if len(keys) == count:
                break
            count = len(keys)
            block = new
        # dead first, start second
        dead, start = block[0], block[1]
        names = {dead: 0}
        if start != dead:
            names[start] = 1
        for b in block:
            names.setdefault(b, len(names))
        rows: list[list[int]] = [[] for _ in names]
        accept = [0] * len(names)
        for s, row in enumerate(self.next):
            rows[names[block[s]]] = [names[block[t]] for t in row]
            accept[names[block[s]]] = self.accept[s]
        self.next, self.accept = rows, accept
        # columns that always act alike become one; BOS and EOS stay apart
        columns = list(zip(*self.next, strict=True))
        keys2: dict[tuple, int] = {}
        kept = [keys2.setdefault(c, len(keys2)) for c in columns[: self.bos]]
        self.column_of_segment = [kept[c] for c in self.column_of_segment]
        everything = [*keys2, columns[self.bos], columns[self.eos]]
        self.bos, self.eos = len(keys2), len(keys2) + 1
        self.columns = len(everything)
        self.next = [list(r) for r in zip(*everything, strict=True)]
