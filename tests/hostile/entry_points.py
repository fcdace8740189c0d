"""Every native entry point that takes text, as functions of one column with plain results."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from smolfast import _native, classify, curate, dedup, text

Column = Any


def _listed(result: Any) -> Any:
    """Results as plain lists, to be compared whatever their container."""
    if isinstance(result, (pa.Array, pa.ChunkedArray)):
        return result.to_pylist()
    if isinstance(result, np.ndarray):
        return result.tolist()
    if isinstance(result, tuple):
        return [_listed(part) for part in result]
    return result


_FLAGS = np.tile(np.array([0, 1], np.uint8), 500)
_HASHERS = {
    scheme: dedup.MinHasher(16, 2, scheme=scheme, simplify=simplify)  # type: ignore[arg-type]
    for scheme, simplify in (("fast", True), ("classic", False), ("datasketch", False), ("datatrove", False))
}


def _model() -> classify.Model:
    """One of n-grams of characters and of words; its file is mapped, so its name may go."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.bin"
        texts = {"x": ["a b c", "la der"], "y": ["d e", "é ü"]}
        classify.train(texts, path, dim=5, epoch=2, bucket=97, minn=1, maxn=3, threads=1)
        return classify.Model(path)


_MODEL = _model()

ENTRY_POINTS: dict[str, Callable[[Column], Any]] = {
    "text.normalize": lambda c: _listed(text.normalize(c, "NFKD", stream_safe=True)),
    "text.is_normalized": lambda c: _listed(text.is_normalized(c)),
    "text.lower": lambda c: _listed(text.lower(c)),
    "text.casefold": lambda c: _listed(text.casefold(c)),
    "text.simplify": lambda c: _listed(text.simplify(c)),
    "text.clean": lambda c: _listed(tuple(text.clean(c))),
    "text.redact": lambda c: _listed(text.redact(c)),
    "text.fix_mojibake": lambda c: _listed(text.fix_mojibake(c)),
    "text.words": lambda c: _listed(text.words(c)),
    "text.words (spacy)": lambda c: _listed(text.words(c, rules="spacy")),
    "text.count_sentences": lambda c: _listed(text.count_sentences(c)),
    "Model.predict": lambda c: _MODEL.predict(c, k=-1).to_pylist(),
    "Model.scores": lambda c: _MODEL.scores(c, ["x"]).to_pylist(),
    "Model.embed": lambda c: np.nan_to_num(_MODEL.embed(c)).tolist(),
    "curate.judge": lambda c: curate.judge(c).to_pylist(),
    **{
        f"MinHasher.signatures ({scheme})": lambda c, hasher=hasher: _listed(hasher.signatures(c))
        for scheme, hasher in _HASHERS.items()
    },
    "MinHasher.shingles": lambda c: _listed(_HASHERS["fast"].shingles(c)),
    "_native.hash_texts": lambda c: _listed(_native.hash_texts(c, True, 0)),
    "_native.hash_lines": lambda c: _listed(_native.hash_lines(c, 1, 0)),
    "_native.drop_lines": lambda c: _listed(pa.array(_native.drop_lines(c, 1, _FLAGS))),
    "_native.is_normalized": lambda c: list(_native.is_normalized(c, "NFC", 0)),
    "_native.is_valid_utf8": lambda c: [_native.is_valid_utf8(c)],
}
