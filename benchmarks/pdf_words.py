"""Sentences for made documents: words that are English (or Hebrew), and one word that no other sentence has."""

from __future__ import annotations

import random
import re

ENGLISH = re.findall(
    r"\w+",
    """
    the river carries its water past old mills while people walk along both banks and talk about weather harvest roads
    letters trade music ships winter bread glass stone paper light every measurement depends on temperature pressure
    and patience because instruments drift between observations careful students compare several independent readings
    before they publish results which other laboratories repeat under different conditions government committees
    consider economic arguments whenever agricultural production changes national markets historical documents describe
    how communities organised irrigation transportation education libraries preserve manuscripts of considerable value
    in small rooms with simple furniture where visitors study original sources during summer evenings most engineers
    prefer reliable components over complicated machinery since maintenance becomes expensive after installation large
    numbers of particles behave like continuous fluids if we look at them from far away a short note may explain what
    was left out of this part and why it matters for all that follows here
    """,
)
HEBREW = re.findall(
    r"\w+",
    """
    שלום עולם ספר מים נהר דרך בית לחם אור זמן מקום עיר חורף קיץ רוח אבן נייר כתב
    מלך ארץ ים הר עץ פרי לב יד עין קול שיר
    """,
)
_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
_HEBREW = "אבגדהוזחטיכלמנסעפצקרשת"


def key(number: int, *, hebrew: bool = False) -> str:
    """A word for a number."""
    if hebrew:
        letters = ""
        value = number * 7 + 11
        for _ in range(5):
            value, rest = divmod(value, len(_HEBREW))
            letters += _HEBREW[rest]
        return letters
    value, word = number * 31 + 70 * 70, ""
    while value:
        value, rest = divmod(value, 70)
        word += _SYLLABLES[rest]
    return word.capitalize()


class Sentences:
    """Gives one sentence after the other."""

    def __init__(self, seed: int, *, hebrew: bool = False) -> None:
        self._random = random.Random(seed)
        self._hebrew = hebrew
        self._next = seed * 1000
        self.made: list[str] = []

    def sentence(self, least: int = 6, most: int = 16) -> str:
        """A new one."""
        words = self._random.choices(HEBREW if self._hebrew else ENGLISH, k=self._random.randint(least, most))
        self._next += 1
        self.made.append(" ".join([key(self._next, hebrew=self._hebrew), *words]) + ".")
        return self.made[-1]

    def paragraph(self, least: int = 3, most: int = 6) -> str:
        """Several."""
        return " ".join(self.sentence() for _ in range(self._random.randint(least, most)))

    def words(self, count: int) -> str:
        """Some words, without a key."""
        return " ".join(self._random.choices(HEBREW if self._hebrew else ENGLISH, k=count))

    def number(self, most: int = 9999) -> str:
        """Digits."""
        return f"{self._random.randint(1, most):,}"
