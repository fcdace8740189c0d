"""Text of pages that are pictures: RapidOCR or tesseract, behind one interface."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from smolfast import _native
from smolfast.errors import SmolfastError
from smolfast.machine import install_command

DPI = 200
MOST_PIXELS = 6_000_000
"""Of a page's picture: A4 at 200 dpi has four million. Larger pages are drawn smaller."""
LEAST_CONFIDENCE = 0.5
"""Of a line: below it there is most often no writing."""
_INK, _LEAST_INK = 40, 2e-4
"""Steps of grey from the paper's, and the share of pixels that are so far from it on a page with writing."""
_BASELINE = 0.22
"""How far above the lower edge of a line's box the letters stand, in heights of the box."""
_SAME_SIZE = (0.6, 1.3)
"""Of the usual one: lines whose sizes lie between have that. Boxes aren't exact, and higher where a line is tilted."""

Pixels = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]


class Line(NamedTuple):
    """A line, or a word, that was read."""

    text: str
    box: tuple[float, float, float, float]
    """Left, top, right and bottom in pixels."""
    size: float
    """Of the font, in pixels, as near as the box tells."""
    confidence: float
    """From 0 to 1."""


class Recognizer(Protocol):
    """Reads pictures."""

    @property
    def name(self) -> str:
        """And its version, as rows name it."""

    def read(self, picture: Pixels, seconds: float) -> list[Line]:
        """Lines of a picture in shades of grey [height, width].

        Raises:
            TimeoutError: it took longer than so many seconds.
        """


class Reading(NamedTuple):
    """What was read on a page."""

    blocks: list[tuple[Any, ...]]
    """As the native reader gives them."""
    confidence: float
    """Mean of the lines, weighted by their letters; 0 where there are none."""


def recognizer(chosen: str) -> Recognizer | None:
    """By what `--ocr` says: none, rapidocr, tesseract, or tesseract:LANGUAGES.

    Raises:
        SmolfastError: unknown, or not installed.
    """
    name, _, languages = chosen.partition(":")
    if name == "none" and not languages:
        return None
    if name == "rapidocr" and not languages:
        return RapidOcr()
    if name == "tesseract" and re.fullmatch(r"[A-Za-z_/+]*", languages):
        return Tesseract(languages or "eng")
    raise SmolfastError(f"no OCR is called {chosen!r}; give none, rapidocr, tesseract, or tesseract:deu+eng")


class RapidOcr:
    """PP-OCR's small models, which lie in the wheel of rapidocr: Latin, Chinese, Japanese letters, digits."""

    def __init__(self) -> None:
        if find_spec("rapidocr") is None or find_spec("onnxruntime") is None:
            raise SmolfastError(f"RapidOCR isn't installed; install it with: {install_command('ocr')}")
        self.name = f"rapidocr {importlib.metadata.version('rapidocr')}"
        self._engine: Any = None

    def read(self, picture: Pixels, seconds: float) -> list[Line]:
        """Lines; `seconds` is the worker's own limit."""
        if self._engine is None:
            threads = {f"EngineConfig.onnxruntime.{one}_op_num_threads": 1 for one in ("intra", "inter")}
            made = importlib.import_module("rapidocr").RapidOCR
            self._engine = made(params={**threads, "Global.log_level": "critical", "Global.use_cls": False})
        found = self._engine(picture)
        if found.boxes is None:
            return []
        lines = []
        for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True):
            left_top, right_top, right_bottom, left_bottom = ((float(x), float(y)) for x, y in corners)
            box = (
                (left_top[0] + left_bottom[0]) / 2,
                (left_top[1] + right_top[1]) / 2,
                (right_top[0] + right_bottom[0]) / 2,
                (left_bottom[1] + right_bottom[1]) / 2,
            )
            lines.append(Line(str(text), box, 0.78 * (box[3] - box[1]), float(score)))  # its boxes are wide
        return lines


class Tesseract:
    """The program, in the languages that are installed for it."""

    def __init__(self, languages: str = "eng") -> None:
        program = shutil.which("tesseract")
        if program is None:
            raise SmolfastError("there is no program called tesseract; install tesseract-ocr, or give --ocr rapidocr")
        self._program, self._languages = program, languages
        said = self._run(["--version"], b"", 60).decode("utf-8", "replace").split()
        self.name = f"tesseract {said[1] if len(said) > 1 else '?'} {languages}"
        have = self._run(["--list-langs"], b"", 60).decode("utf-8", "replace").splitlines()[1:]
        if missing := [one for one in languages.split("+") if one not in have]:
            raise SmolfastError(f"tesseract has no language {missing[0]}; install it, or give one of {', '.join(have)}")

    def _run(self, arguments: Sequence[str], data: bytes, seconds: float) -> bytes:
        environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
        try:
            done = subprocess.run(
                [self._program, *arguments],
                input=data,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                timeout=seconds,
                check=True,
            )
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        except subprocess.CalledProcessError as error:
            raise OSError(f"tesseract ended with {error.returncode}") from None
        return done.stdout

    def read(self, picture: Pixels, seconds: float) -> list[Line]:
        """Words, each as high as its line."""
        height, width = picture.shape
        data = b"P5 %d %d 255\n" % (width, height) + picture.tobytes()
        arguments = ["stdin", "stdout", "--dpi", str(DPI), "-l", self._languages, "tsv"]
        words, line = [], (0.0, 0.0)
        for row in self._run(arguments, data, seconds).decode("utf-8", "replace").splitlines()[1:]:
            cells = row.split("\t")
            if len(cells) < 12:
                continue
            left, top, across, down = (float(cell) for cell in cells[6:10])
            if cells[0] == "4":
                line = (top, top + down)
            elif cells[0] == "5" and cells[11].strip():
                box = (left, line[0], left + across, line[1])
                words.append(
                    Line(cells[11], box, 1.05 * (line[1] - line[0]), float(cells[10]) / 100)
                )  # theirs are tight
        return words


def read_page(pdf: Any, page: int, by: Recognizer, seconds: float) -> Reading:
    """Draw a page (from 0) and read what stands on it. A page without ink isn't read.

    Raises:
        TimeoutError: it took longer than so many seconds.
    """
    drawn = pdf.render(page, DPI / 72, MOST_PIXELS, 1)
    if drawn is None or is_blank(drawn[:, :, 0]):
        return Reading([], 0.0)
    picture = drawn[:, :, 0]
    lines = _read(picture, by, seconds)
    if not lines:
        return Reading([], 0.0)
    letters = [len(one.text) for one in lines]
    mean = sum(one.confidence * count for one, count in zip(lines, letters, strict=True)) / sum(letters)
    width, height = pdf.size(page)
    return Reading(_arranged(lines, width / picture.shape[1], height / picture.shape[0]), mean)


def read_figures(pdf: Any, page: int, boxes: Sequence[Box], by: Recognizer, seconds: float) -> list[str]:
    """What stands in parts of a page (from 0), by their boxes in points: text as that of blocks, "" where none is.

    Raises:
        TimeoutError: all of them together took longer than so many seconds.
    """
    drawn = pdf.render(page, DPI / 72, MOST_PIXELS, 1)
    width, height = pdf.size(page)
    if drawn is None or not (width > 0 and height > 0):
        return [""] * len(boxes)
    ends = time.monotonic() + seconds
    down, across = drawn.shape[0] / height, drawn.shape[1] / width
    texts = []
    for x0, y0, x1, y1 in boxes:
        cut = drawn[max(0, int(y0 * down)) : int(y1 * down) + 1, max(0, int(x0 * across)) : int(x1 * across) + 1, 0]
        texts.append("")
        if cut.size == 0 or is_blank(cut):
            continue
        if (left := ends - time.monotonic()) <= 0:
            raise TimeoutError
        if lines := _read(np.ascontiguousarray(cut), by, left):
            blocks = _arranged(lines, 1 / across, 1 / down)
            texts[-1] = "\v".join(text.replace("\n", "\v") if kind == "table" else text for kind, *_, text in blocks)
    return texts


def _read(picture: Pixels, by: Recognizer, seconds: float) -> list[Line]:
    """Lines that are sure enough, and have a place."""
    return [
        one
        for one in by.read(picture, seconds)
        if one.confidence >= LEAST_CONFIDENCE
        and one.text.strip()
        and one.box[2] > one.box[0]
        and one.box[3] > one.box[1]
    ]


def is_blank(picture: Pixels) -> bool:
    """Whether next to nothing stands out from the paper."""
    paper = float(np.median(picture[::4, ::4]))
    ink = np.count_nonzero(np.abs(picture.astype(np.int16) - int(paper)) > _INK)
    return bool(ink < _LEAST_INK * picture.size)


def _arranged(lines: Sequence[Line], across: float, down: float) -> list[tuple[Any, ...]]:
    """Blocks of lines in reading order; letters of a line stand evenly in its box."""
    usual = statistics.median(one.size * down for one in lines)
    codes: list[int] = []
    places: list[tuple[float, ...]] = []
    sizes: list[float] = []
    for line in lines:
        x0, y0, x1, y1 = line.box[0] * across, line.box[1] * down, line.box[2] * across, line.box[3] * down
        size = line.size * down
        size = usual if _SAME_SIZE[0] * usual < size < _SAME_SIZE[1] * usual else size
        baseline = y1 - (y1 - y0) * _BASELINE
        step = (x1 - x0) / len(line.text)
        for at, letter in enumerate(f"{line.text} "):
            left = x0 + at * step
            codes.append(ord(letter))
            places.append((left, baseline - 0.8 * size, left + step, baseline + 0.2 * size, left, baseline))
            sizes.append(size)
    count = len(codes)
    return _native.arrange(np.array(codes, np.uint32), np.array(places), np.array(sizes), np.zeros(count, np.int32))
