"""Rows of .csv and .tsv files (RFC 4180), every cell the text that stands there."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator

from smolfast.errors import SmolfastError
from smolfast.io.json.lines import MOST_LINE_BYTES


def read_rows(stream: io.BufferedReader, path: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each row with the number of the line where it starts, from 1; the first is the columns' names.

    Quoted cells may hold line breaks and any length of text up to `MOST_LINE_BYTES`. Bytes that aren't UTF-8 come as
    surrogates ("surrogateescape"). Empty lines are passed over.

    Raises:
        SmolfastError: a quote that isn't closed, more or fewer cells than there are names, a name that occurs twice.
    """
    # Of all readers in the process, and never lowered: the default of 128 KiB is less than a document.
    csv.field_size_limit(max(csv.field_size_limit(), MOST_LINE_BYTES))
    reader = csv.reader(_lines(stream, path), delimiter=delimiter, strict=True)
    names: list[str] | None = None
    line = 1
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise SmolfastError(
                f"{path}, line {line}: not CSV ({error}); put cells with quotes, line breaks or the separator into "
                "quotes, and double the quotes in them"
            ) from error
        if row:
            if names is None:
                names = row
                twice = [name for name, times in Counter(names).items() if times > 1]
                if twice:
                    raise SmolfastError(f"{path} has two columns of the same name ({', '.join(twice)}); rename one")
            elif len(row) != len(names):
                raise SmolfastError(
                    f"{path}, line {line}: {len(row)} cells where the first line has {len(names)}; correct the line"
                )
            yield line, row
        line = reader.line_num + 1


def _lines(stream: io.BufferedReader, path: str) -> Iterator[str]:
    number = 0
    while line := stream.readline(MOST_LINE_BYTES + 1):
        number += 1
        if len(line) > MOST_LINE_BYTES:
            raise SmolfastError(
                f"{path}, line {number}: longer than {MOST_LINE_BYTES >> 20} MiB; split or remove the line, or store "
                "the documents as parquet"
            )
        yield line.decode("utf-8", "surrogateescape")
