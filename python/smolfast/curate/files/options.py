"""What decides a run's output beside its input, as `curate_files` takes it."""

from __future__ import annotations

import dataclasses
import functools
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa

from smolfast.curate.files import scoring
from smolfast.curate.files.scoring import ScoreCheck
from smolfast.curate.judging import judge, signal_names
from smolfast.curate.languages import tokenizer_of
from smolfast.curate.rules import C4BadWords, Rules, load_rules, shipped_rules
from smolfast.curate.rules.ruleset import rules_from
from smolfast.curate.words import WordsName
from smolfast.errors import SmolfastError
from smolfast.files import describe_os_error, fingerprint
from smolfast.io.documents import ErrorPolicy

REMOVED_COLUMNS = ("document", "reason", "filter", "value", "threshold")
"""What `removed/` says of each document beside its own columns."""

_UNSPACED = {"ja", "th", "zh"}
"""Languages whose bad words count wherever they stand, as datatrove has it."""


@dataclass(frozen=True)
class RulesFor:
    """Rules by language: a name or file as `load_rules` takes it, and words that no document may hold."""

    name: str
    toml: Mapping[str, str] | None = None
    """The rules of each language as a finished run wrote them down; instead of those that the name stands for."""
    bad_words: tuple[str, ...] = ()

    @functools.cache  # noqa: B019 - few, and as long-lived as the process
    def of(self, language: str | None) -> Rules:
        """The rules for a language; None for the rules' own.

        Raises:
            SmolfastError: as `load_rules`.
        """
        if self.toml is not None:
            return rules_from(tomllib.loads(self.toml[str(language)]), self.name)
        rules = load_rules(self.name, language)
        if not self.bad_words:
            return rules
        flanked = (language or rules.language or "en").split("_")[0] not in _UNSPACED
        # Behind C4's rules for lines, as datatrove's own pipelines have it.
        names = [kind.name for kind in rules.filters]
        place = names.index("c4_quality") + 1 if "c4_quality" in names else len(names)
        filters = [kind for kind in rules.filters if kind.name != C4BadWords.name]
        return dataclasses.replace(
            rules, filters=(*filters[:place], C4BadWords(self.bad_words, flanked), *filters[place:])
        )

    def __hash__(self) -> int:
        return hash((self.name, self.bad_words))


@dataclass(frozen=True)
class Check:
    """One check of a filter."""

    filter: str
    reason: str
    signal: str
    """The column of the number that it looks at."""
    threshold: float | None
    """None where it is turned off."""
    above: bool
    """Whether what lies above the threshold goes, or what lies below."""
    undefined: str | None = None
    """The reason where the number is one over nothing."""
    spared: float | None = None
    """A number that stays whatever the threshold."""

    def takes(self, values: Any) -> Any:
        """Whether documents of these numbers go."""
        if self.threshold is None:
            return values != values
        beyond = values > self.threshold if self.above else values < self.threshold
        return beyond if self.spared is None else beyond & (values != self.spared)

    def as_dict(self) -> dict[str, Any]:
        """What `curate.json` says of it."""
        return {name: getattr(self, name) for name in ("filter", "reason", "signal", "threshold", "above")}


@dataclass(frozen=True)
class Options:
    """Options of `curate_files`, each as it says there; two runs of equal options and input are one."""

    rules: RulesFor
    language: str | None
    language_column: str | None
    words: WordsName
    signals: bool
    text_column: str
    id_column: str
    types: Mapping[str, str]
    errors: ErrorPolicy
    prefix: str
    language_model: str | None = None
    language_score: float | None = None
    quality_model: str | None = None
    quality_score: float | None = None
    quality_label: str | None = None

    def check(self) -> None:
        """Refuse values that aren't ones to choose from.

        Raises:
            SmolfastError: such a value; rules or a language that `judge` doesn't know.
        """
        if self.errors not in get_args(ErrorPolicy):
            raise SmolfastError(f"errors = {self.errors!r}: choose one of {', '.join(get_args(ErrorPolicy))}")
        if self.words not in get_args(WordsName):
            raise SmolfastError(f"words = {self.words!r}: choose one of {', '.join(get_args(WordsName))}")
        for what in ("language", "quality"):
            model, score = (getattr(self, f"{what}_{part}") for part in ("model", "score"))
            if score is not None and model is None:
                raise SmolfastError(f"--{what}-score is the score of a model; name its file with --{what}-model")
            if score is not None and not 0 <= score <= 1:
                raise SmolfastError(f"{what}_score = {score!r}: give a share from 0 to 1, for example 0.5")
            if model is not None:
                scoring.opened(model)
        if self.quality_model is not None and self.quality_score is None:
            scoring.least_quality(self.quality_model)
        if self.quality_label is not None and self.quality_model is None:
            raise SmolfastError("--quality-label is one of a model's; name its file with --quality-model")
        if self.language_column is None:
            self.verdicts([""], self.language)

    def score_checks(self, language: str | None) -> tuple[list[ScoreCheck], list[ScoreCheck]]:
        """What models decide: before the rules, and behind them.

        Raises:
            SmolfastError: a model that can't be read, or has no label for the language or for quality.
        """
        before, after = [], []
        if self.language_model is not None:
            label = scoring.label_of_language(self.language_model, self.language_of(language))
            least = self.language_score
            if least is None:
                least = scoring.least_of_language(label, self.rules.of(language).language_score)
            before.append(ScoreCheck(scoring.LANGUAGE, self.language_model, label, least))
        if self.quality_model is not None:
            least = scoring.least_quality(self.quality_model) if self.quality_score is None else self.quality_score
            label = scoring.label_of_quality(self.quality_model, self.quality_label)
            after.append(ScoreCheck(scoring.QUALITY, self.quality_model, label, least))
        return before, after

    def verdicts(self, strings: Any, language: str | None, threads: int = 1) -> pa.Table:
        """The verdicts on strings with all numbers, as `judge` gives them."""
        if self.words == "spacy" and language is not None:
            _check_language(language)
        rules = self.rules.of(language)
        table = judge(strings, rules, language, words=self.words, signals=True, threads=threads)
        before, after = self.score_checks(language)
        return scoring.apply(table, strings, before, after, threads) if before or after else table

    def language_of(self, language: str | None) -> str:
        """The language's name in what is written: what was asked for, or else the rules' own, or English."""
        return language or self.rules.of(None).language or "en"

    def checks(self, language: str | None) -> tuple[Check, ...]:
        """The checks of the rules in their order."""
        of_models = [
            [Check(one.name, one.name, one.signal, one.threshold, above=False) for one in part]
            for part in self.score_checks(language)
        ]
        of_rules = [
            Check(
                kind.name,
                check.reason,
                kind.column(check.signal),
                None if check.off else float(check.limit),
                check.sides == "above",
                check.undefined,
                check.spared,
            )
            for kind in self.rules.of(language).filters
            for check in kind.checks()
        ]
        return (*of_models[0], *of_rules, *of_models[1])

    def signal_columns(self) -> dict[str, pa.DataType]:
        """The columns of measured numbers that are stored; the same for every language."""
        if not self.signals:
            return {}
        of_rules = {
            kind.column(name): pa.int64() if name in kind.counts else pa.float64()
            for kind in self.rules.of(self.language or ("en" if self.language_column else None)).filters
            for name in signal_names(kind)
        }
        before = {"language_score": pa.float64()} if self.language_model is not None else {}
        after = {"quality_score": pa.float64()} if self.quality_model is not None else {}
        return {**before, **of_rules, **after}

    def parameters(self) -> dict[str, Any]:
        """The options as JSON has them."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "rules"}
        return {**own, "types": dict(self.types)}

    def models_key(self) -> dict[str, str]:
        """What the models are: a fingerprint of each one's file."""
        return {path: fingerprint(path) for path in (self.language_model, self.quality_model) if path is not None}

    def rules_key(self) -> Any:
        """What the rules are, for a run's key: their content where a file holds it."""
        if self.language_column is None:
            return self.rules.of(self.language).to_toml()
        content = "" if self.rules.name in shipped_rules() else read_text(self.rules.name, "rules")
        return [self.rules.name, content, list(self.rules.bad_words)]

    @staticmethod
    def of_manifest(manifest: Mapping[str, Any]) -> Options:
        """The options of a finished run.

        Raises:
            KeyError, TypeError: the manifest holds none.
        """
        rules, parameters = manifest["rules"], dict(manifest["parameters"])
        toml = {str(language): str(text) for language, text in rules["toml"].items()}
        if parameters["language_column"] is None:
            (parameters["language"],) = toml
        return Options(rules=RulesFor(str(rules["name"]), toml), **parameters)


def _check_language(language: str) -> None:
    """Say which option of the command helps, beside what the function says."""
    try:
        tokenizer_of(language)
    except SmolfastError as error:
        raise SmolfastError(str(error).replace('words="unicode"', "--words unicode")) from error


def bad_words_of(path: str | os.PathLike[str] | None) -> tuple[str, ...]:
    """The words of a file, one a line, in lower case, as texts are compared.

    Raises:
        SmolfastError: a file that can't be read or holds no word.
    """
    if path is None:
        return ()
    words = tuple(dict.fromkeys(line.strip().lower() for line in read_text(path, "bad words").splitlines()))
    found = tuple(word for word in words if word)
    if not found:
        raise SmolfastError(f"{path} holds no words; write one a line")
    return found


def read_text(path: str | os.PathLike[str], what: str) -> str:
    """A file of UTF-8.

    Raises:
        SmolfastError: it can't be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SmolfastError(f"can't read {what} from {path}: {describe_os_error(error)}") from error
    except ValueError as error:  # not UTF-8, or a zero byte in the name
        raise SmolfastError(f"can't read {what} from {path} ({' '.join(str(error).split())}); give UTF-8") from error
