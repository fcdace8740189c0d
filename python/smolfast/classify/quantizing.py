"""Model files made small, as fastText's own `quantize` makes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from smolfast import _native
from smolfast.classify.notes import append_notes, read_notes
from smolfast.errors import SmolfastError
from smolfast.files import atomic_path, final_path


def quantize(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    cutoff: int = 0,
    dsub: int = 2,
    qnorm: bool = False,
    qout: bool = False,
    threads: int = 0,
) -> dict[str, Any]:
    """Write a supervised model with product-quantised rows (Jégou et al. 2011), which fastText loads too.

    A row is cut into parts of `dsub` numbers, and each part becomes one byte: the nearest of 256 that k-means found.
    The arguments have fastText's names and defaults. Draws are our own: the file has another codebook than fastText's,
    and depends on the model and the arguments alone, not on `threads` or the CPU. `Model.notes` come along as they are.

    Args:
        model: a `.bin` that isn't quantised.
        output: the file, commonly `.ftz`; it appears when it is whole.
        cutoff: keep so many words and n-grams, those whose rows are longest; 0 for all.
        dsub: numbers that a byte stands for.
        qnorm: take each row's length out, and give it a byte of its own.
        qout: quantise the labels' rows too, by twos; it takes 256 labels or more.
        threads: 0 for every CPU this process may use.

    Returns:
        bytes_in and bytes_out of the files, words and ngrams that stay, error: the squares of what codes lost of the
        input's numbers, as a share of all, and output_error, the same of the labels'.

    Raises:
        SmolfastError: a file that isn't such a model, or has fewer than 256 rows; arguments out of range.
    """
    for name, value, least, most in (("cutoff", cutoff, 0, 2**31 - 1), ("dsub", dsub, 1, 2**20)):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise SmolfastError(f"{name} = {value!r}: give a whole number from {least} to {most}")
    path = Path(output)
    source = os.path.realpath(model)
    if source == os.path.realpath(final_path(path)):
        raise SmolfastError(f"the output {path} is the model itself; choose another output")
    with atomic_path(path) as temporary:
        made = _native.quantize_fasttext(
            os.fspath(model), os.fspath(temporary), cutoff=cutoff, dsub=dsub, qnorm=qnorm, qout=qout, threads=threads
        )
        if notes := read_notes(model):
            append_notes(temporary, notes)
        size = temporary.stat().st_size
    return {"bytes_in": Path(source).stat().st_size, "bytes_out": size, **made}
