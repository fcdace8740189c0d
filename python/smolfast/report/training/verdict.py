"""What is good about a run and what isn't, each in a sentence that says what to do about it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from smolfast.progress import format_bytes
from smolfast.report.names import HELD_OUT, NEXT_TOKEN
from smolfast.report.section import counted, numeric
from smolfast.report.training.run import Run

_AS_GOOD = 0.005
"""A share of bits below which two figures are called the same."""
_BY_HEART = 0.08
"""A share by which held-out text may cost more than what was trained on."""
_MUCH_LESS = 0.6
"""A share of the recorded run's parameters times tokens."""
_LAST, _LAST_SHARE = 20, 5
"""At the end the training loss is averaged over so many steps, but over no more than one in five."""
_FEW_DOCUMENTS, _FEW_BYTES = 20, 100_000


@dataclass(frozen=True)
class Finding:
    """A sentence, and whether it is good news; None: neither, but worth a look."""

    good: bool | None
    text: str


@dataclass(frozen=True)
class Recorded:
    """A run of ours whose figures are kept with the benchmarks, to compare with."""

    parameters: int
    tokens: int
    bits_per_byte: float
    zlib: float
    xz: float


DEFAULT_RUN = Recorded(parameters=1_529_216, tokens=1_802_240, bits_per_byte=1.502, zlib=1.833, xz=1.508)
"""`smolfast quickstart` as it is, 440 steps, on the text of a Python installation."""


def verdict(run: Run) -> list[Finding]:
    """Beside the compressors first; then what makes the figure less than it seems."""
    found = [*_beside_compressors(run), *_by_heart(run), *_little_text(run)]
    alarms = sum(event.get("event") == "alarm" for event in run.events)
    monitors = sum(event.get("event") == "monitor" for event in run.events)
    if monitors:
        found.append(Finding(None, f"{counted(monitors, 'reaction')} of monitors: see the marks in the charts."))
    if trouble := len(run.events) - alarms - monitors:
        found.append(
            Finding(False, f"{counted(trouble, 'event')} of trouble while training: see the marks in the charts.")
        )
    if alarms:
        text = f"{counted(alarms, 'alarm')} about the features of a layer. Alarms don't predict how good a model is."
        found.append(Finding(None, text))
    return found


def normal(run: Run) -> str:
    """What is normal for a run of this size, by the recorded one; empty where the run doesn't say how large it is."""
    parameters = sum(math.prod(shape) for shape in run.shapes.values())
    tokens = numeric(run.metrics[-1].get("tokens")) if run.metrics else None
    if not parameters or not tokens:
        return ""
    known = DEFAULT_RUN
    times = parameters * tokens / (known.parameters * known.tokens)
    if times < _MUCH_LESS:
        beside = f"This run computed {1 / times:,.0f} times less, so more bits are normal."
    elif times <= 1 / _MUCH_LESS:
        beside = "This run computed about as much."
    else:
        beside = f"This run computed {times:,.0f} times as much, so expect fewer bits."
    size = f"{known.parameters / 1e6:.1f} million parameters, {known.tokens / 1e6:.1f} million tokens"
    result = f"{_beside(known.bits_per_byte, known.zlib)} zlib -9 and {_beside(known.bits_per_byte, known.xz)} xz -9e"
    return (
        f"What is normal: the default quickstart ({size}, about four minutes on two cores) ended at "
        f"{known.bits_per_byte:.2f} bits per byte on the text of a Python installation. That is {result}. {beside}"
    )


def _beside_compressors(run: Run) -> list[Finding]:
    ours = numeric(run.evaluation.get("bits_per_byte"))
    if ours is None or not math.isfinite(ours):
        return []
    found = []
    for key, name in (("zlib", "zlib -9 (what gzip uses)"), ("xz", "xz -9e (a stronger compressor)")):
        theirs = numeric(run.evaluation.get(f"{key}_bits_per_byte"))
        if theirs:
            found.append(Finding(ours < theirs * (1 + _AS_GOOD), f"It needs {_beside(ours, theirs)} {name}."))
    unigram = numeric(run.evaluation.get("unigram_bits_per_byte"))
    if unigram and ours >= unigram:
        text = "It is no better than counting how often each byte occurs: it has learned nothing about their order."
        found.append(Finding(False, text))
    return found


def _by_heart(run: Run) -> list[Finding]:
    """Whether held-out text costs more than the text that the model was trained on."""
    last = run.metrics[-max(1, min(_LAST, len(run.metrics) // _LAST_SHARE)) :]
    losses = [numeric((entry.get("head_losses") or [entry.get("loss")])[0]) for entry in last]
    finite = [loss for loss in losses if loss is not None and math.isfinite(loss)]
    held = [loss for entry in run.metrics if (loss := numeric(entry.get("held_out_loss"))) is not None]
    if not finite or not held or not math.isfinite(held[-1]) or held[-1] <= 0:
        return []
    trained = sum(finite) / len(finite)
    passes = _passes(run)
    times = f", after {passes:.1f} passes over it" if passes else ""
    both = f"{held[-1]:.3f} ({HELD_OUT}) beside {trained:.3f} ({NEXT_TOKEN})"
    if held[-1] > trained * (1 + _BY_HEART):
        if passes is not None and passes < 1:
            # The held-out text is another kind of text: nothing was seen twice.
            return [Finding(True, f"It saw no text twice, so it learned none by heart. Unseen text is harder: {both}.")]
        return [Finding(False, f"It learns its text by heart{times}: {both}. More text helps; more steps don't.")]
    return [Finding(True, f"It does about as well on text that it hasn't seen as on its own: {both}.")]


def _passes(run: Run) -> float | None:
    tokens = numeric(run.metrics[-1].get("tokens")) if run.metrics else None
    there = numeric(run.summary("tokenize").get("train_tokens"))
    return tokens / there if tokens and there else None


def _little_text(run: Run) -> list[Finding]:
    documents, size = numeric(run.evaluation.get("documents")), numeric(run.evaluation.get("bytes"))
    if documents is None or size is None or (documents >= _FEW_DOCUMENTS and size >= _FEW_BYTES):
        return []
    little = f"{counted(documents, 'document')}, {format_bytes(size)}"
    return [Finding(False, f"There is little held-out text ({little}): another draw would give another figure.")]


def _beside(ours: float, theirs: float) -> str:
    share = abs(1 - ours / theirs)
    if share < _AS_GOOD:
        return "as many bits as"
    return f"{share:.0%} {'fewer' if ours < theirs else 'more'} bits than"
