"""Two texts side by side."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smolfast.report.difference import Difference, compare, difference_table

_LINES = st.lists(
    st.lists(st.sampled_from(["red", "green", "blue", "(x)", "y=1"]), max_size=5).map(" ".join), max_size=12
)


@given(_LINES, _LINES)
def test_rows_are_lines_of_the_texts(left: list[str], right: list[str]) -> None:
    left, right = left or [""], right or [""]
    difference = compare("\n".join(left), "\n".join(right))
    numbers: tuple[list[int], list[int]] = ([], [])
    for row in difference.rows:
        if row.kind == "gap":
            continue
        for pieces, line, lines, seen in (
            (row.left, row.left_line, left, numbers[0]),
            (row.right, row.right_line, right, numbers[1]),
        ):
            if pieces is not None:
                assert "".join(text for text, _ in pieces) == lines[line - 1]
                seen.append(line)
        if row.left is not None and row.right is not None:
            # What isn't marked is the same on both sides (a space between two marks counts to them).
            same = ["".join(t for t, changed in side if not changed).replace(" ", "") for side in (row.left, row.right)]
            assert same[0] == same[1]
            assert (row.kind == "equal") == (left[row.left_line - 1] == right[row.right_line - 1])
    assert numbers[0] == sorted(set(numbers[0])) and numbers[1] == sorted(set(numbers[1]))
    shown = sum(row.kind == "changed" for row in difference.rows)
    assert shown + difference.hidden == difference.changed
    assert (difference.changed == 0) == (left == right)


def test_words_that_differ_are_marked() -> None:
    difference = compare("a\nthe quick brown fox\nb", "a\nthe quick red fox jumps\nb")
    assert [row.kind for row in difference.rows] == ["equal", "changed", "equal"]
    row = difference.rows[1]
    assert row.left == (("the quick ", False), ("brown", True), (" fox", False))
    assert row.right == (("the quick ", False), ("red", True), (" fox", False), (" jumps", True))


def test_long_equal_parts_are_left_out() -> None:
    left = [f"line {i}" for i in range(500)]
    right = [*left[:250], "another", *left[251:]]
    difference = compare("\n".join(left), "\n".join(right))
    assert [row.skipped for row in difference.rows if row.kind == "gap"] == [248, 247]
    assert len(difference.rows) == 2 + 4 + 2 and difference.changed == 2  # a line removed, another added


def test_many_changes_are_cut_and_counted() -> None:
    difference = compare("\n".join(f"a {i} x" for i in range(100)), "\n".join(f"a {i} y" for i in range(100)))
    shown = [row for row in difference.rows if row.kind != "gap"]
    assert len(shown) == 18 and difference == Difference(difference.rows, 100, 82)


def test_context_without_its_change_is_not_shown() -> None:
    left = [f"{i}" for i in range(200)]
    right = ["x" if i in (5, 50, 80, 120, 160) else line for i, line in enumerate(left)]
    difference = compare("\n".join(left), "\n".join(right))
    # Five groups of two lines of context, one removed, one added, two of context; three groups fit into 18 rows.
    assert [row.kind for row in difference.rows] == ["gap", *["equal"] * 2, *["changed"] * 2, *["equal"] * 2] * 3 + [
        "gap"
    ]
    assert (difference.changed, difference.hidden) == (10, 4)
    assert difference.rows[-1].skipped == 200 - 83


def test_long_lines_are_cut_around_the_difference() -> None:
    words = " ".join(f"w{i}" for i in range(300))
    html = difference_table(compare(f"{words} old {words}", f"{words} {'new ' * 200}{words}"), "a", "b", "c")
    assert "<del>old</del>" in html and "w299" in html and "w5 " in html
    assert "w150" not in html and "more characters)</ins>" in html
    assert len(html) < 3000


def test_large_rewritten_blocks_are_removed_then_added() -> None:
    difference = compare("\n".join(f"a{i}" for i in range(60)), "\n".join(f"b{i}" for i in range(50)))
    assert difference.changed == 110 and all(row.right is None for row in difference.rows if row.kind == "changed")
