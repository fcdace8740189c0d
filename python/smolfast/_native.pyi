"""Types of the native module. `smolfast.text`, `.dedup`, `.curate`, `.classify` and `.ops` wrap its functions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

class Judges:
    def __init__(self, rules: Sequence[tuple[str, Mapping[str, Any]]], *, words: str, language: str) -> None: ...
    def judge(
        self,
        strings: object,
        *,
        tokens: object,
        token_ends: npt.NDArray[np.int64] | None,
        signals: bool,
        threads: int,
        errors: str,
    ) -> dict[str, Any]: ...

class ArrowStrings:
    """A string array on its way out; `pyarrow.array(x)` takes it, once."""

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]: ...

class Pdf:
    """An open PDF file, for `smolfast.pdf`."""

    def __init__(self, library: str, data: object) -> None: ...
    @property
    def failure(self) -> str: ...
    @property
    def pages(self) -> int: ...
    def read(self, page: int) -> tuple[float, float, list[tuple[Any, ...]], tuple[Any, ...]] | None: ...
    def size(self, page: int) -> tuple[float, float]: ...
    def render(self, page: int, scale: float, most: int, channels: int) -> npt.NDArray[np.uint8] | None: ...

class WordCounter:
    """The words of texts, for `smolfast.tokens`. What takes them leaves none."""

    def __init__(self, longest_word: int) -> None: ...
    def add(self, strings: object, threads: int) -> None: ...
    def take_words(self) -> dict[str, int]: ...
    def take_merges(self, *, tokens: int, least_times: int, longest_token: int) -> list[tuple[int, int]]: ...

class BpeEncoder:
    """Texts to ids, for `smolfast.tokens`: byte-level BPE with words cut by `pattern`, llama3, qwen or gpt2.

    `bytes`, uint32 [256], are the ids of bytes; `merges`, uint32 [M, 3], two ids and the one they make; `whole` words
    that are one token, whatever the merges; `added` tokens are found before words are cut.
    """

    def __init__(
        self,
        *,
        pattern: str,
        bytes: npt.NDArray[np.uint32],
        merges: npt.NDArray[np.uint32],
        whole: list[tuple[bytes, int]],
        added: list[tuple[bytes, int]],
    ) -> None: ...
    def encode(
        self, strings: object, threads: int
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...

def write_vocabulary(vocab: dict[str, int]) -> bytes:
    """Every token in the order of ids, as `ID CHARACTERS TOKEN` and a line feed: what a vocabulary is known by."""

class FastText:
    """A model of fastText's, for `smolfast.classify.Model`."""

    def __init__(self, path: str) -> None: ...
    def settings(self) -> dict[str, Any]: ...
    def labels(self) -> list[bytes]: ...
    def predict(
        self, strings: object, k: int, threshold: float, newlines: str, errors: str, threads: int
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]: ...
    def scores(
        self, strings: object, labels: Sequence[int], newlines: str, errors: str, threads: int
    ) -> npt.NDArray[np.float32]: ...
    def weights(self, phrases: Sequence[str]) -> npt.NDArray[np.float32]: ...
    def embed(self, strings: object, newlines: str, errors: str, threads: int) -> npt.NDArray[np.float32]: ...

def quantize_fasttext(
    path: str, output: str, *, cutoff: int, dsub: int, qnorm: bool, qout: bool, threads: int
) -> dict[str, Any]: ...
def train_fasttext(
    sides: Sequence[tuple[str, object]],
    path: str,
    *,
    loss: str,
    dim: int,
    epoch: int,
    lr: float,
    word_ngrams: int,
    minn: int,
    maxn: int,
    bucket: int,
    min_count: int,
    seed: int,
    threads: int,
) -> list[float]: ...
def import_strings(strings: object) -> tuple[str, list[ArrowStrings]]: ...
def implementation() -> str: ...
def implementations() -> list[str]: ...
def force_implementation(name: str) -> None: ...
def available_threads() -> int: ...
def is_valid_utf8(strings: object) -> bool: ...
def release_kept_memory() -> None: ...
def newton_schulz(
    source: npt.NDArray[np.float32],
    result: npt.NDArray[np.float32],
    coefficients: Sequence[tuple[float, float, float]],
    parts: Sequence[int],
    eps: float,
    threads: int,
) -> None: ...
def muon_step(
    parameters: Sequence[
        tuple[
            npt.NDArray[np.float32],
            npt.NDArray[np.float32],
            npt.NDArray[np.float32],
            Sequence[tuple[int, float, Sequence[int]]],
        ]
    ],
    coefficients: Sequence[tuple[float, float, float]],
    eps: float,
    momentum: float,
    blend: float,
    nesterov: bool,
    rate: float,
    keep: float,
    cautious: bool,
    threads: int,
) -> None: ...
def softmax_gradient(
    logits: npt.NDArray[np.float32] | npt.NDArray[np.uint16],
    partition: npt.NDArray[np.float32],
    partition_lse: npt.NDArray[np.float32],
    uniform: npt.NDArray[np.float32],
    columns: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
    threads: int,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]: ...
def loss_sweeps(bf16: bool) -> bool: ...
def loss_sweep(
    hidden: npt.NDArray[np.float32] | npt.NDArray[np.uint16],
    weight: npt.NDArray[np.float32] | npt.NDArray[np.uint16],
    bias: npt.NDArray[np.float32] | None,
    partition: npt.NDArray[np.float32],
    partition_lse: npt.NDArray[np.float32],
    uniform: npt.NDArray[np.float32],
    columns: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
    logits: npt.NDArray[np.float32] | npt.NDArray[np.uint16],
    dx: npt.NDArray[np.float32] | npt.NDArray[np.uint16] | None,
    dw: npt.NDArray[np.float32] | None,
    db: npt.NDArray[np.float32] | None,
    threads: int,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]: ...
def rms_norm_backward(
    grad: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    weight: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float32],
    grad_x: npt.NDArray[np.float32],
    threads: int,
) -> npt.NDArray[np.float32]: ...
def swiglu(
    gate: npt.NDArray[np.float32], up: npt.NDArray[np.float32], out: npt.NDArray[np.float32], threads: int
) -> None: ...
def swiglu_backward(
    grad: npt.NDArray[np.float32],
    gate: npt.NDArray[np.float32],
    up: npt.NDArray[np.float32],
    grad_gate: npt.NDArray[np.float32],
    grad_up: npt.NDArray[np.float32],
    threads: int,
) -> None: ...

Heads = npt.NDArray[np.float32] | npt.NDArray[np.uint16]

class AttentionInputs:
    def __init__(
        self,
        q: Heads,
        k: Heads,
        v: Heads,
        query_starts: npt.NDArray[np.int64] | None,
        key_starts: npt.NDArray[np.int64] | None,
        cos: npt.NDArray[np.float32] | None,
        sin: npt.NDArray[np.float32] | None,
        sinks: npt.NDArray[np.float32] | None,
        scale: float,
        left: int,
        right: int,
    ) -> None: ...

def attention_forward(
    inputs: AttentionInputs,
    out: Heads,
    lse: npt.NDArray[np.float32],
    max_logit: npt.NDArray[np.float32] | None,
    threads: int,
) -> None: ...
def attention_backward(
    inputs: AttentionInputs,
    grad_out: Heads,
    lse: npt.NDArray[np.float32],
    grad_lse: npt.NDArray[np.float32] | None,
    dq: Heads,
    dk: Heads,
    dv: Heads,
    threads: int,
) -> None: ...

class MinHasher:
    def __init__(
        self,
        num_perm: int,
        ngram: int,
        tokens: str,
        language: str,
        scheme: str,
        hash: str,
        simplify: bool,
        seed: int,
        a: list[int],
        b: list[int],
    ) -> None: ...
    def sign(self, strings: object, threads: int) -> npt.NDArray[Any]: ...
    def shingles(self, strings: object, threads: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]: ...

class Pairs:
    """What decides whether two documents are alike."""

    def jaccard(
        self, a: npt.NDArray[np.uint32], b: npt.NDArray[np.uint32], threads: int
    ) -> npt.NDArray[np.float64]: ...

class StoredSignatures(Pairs):
    def __init__(self, source: str | Sequence[npt.NDArray[Any]], size: int, value_bytes: int) -> None: ...

class SharedBands(Pairs):
    def __init__(self, signatures: StoredSignatures, bands: int, rows: int) -> None: ...

class StoredSets(Pairs):
    def __init__(self, source: str | Sequence[npt.NDArray[Any]], ends: npt.NDArray[np.int64]) -> None: ...

class StoredHashes(Pairs):
    def __init__(self, low: npt.NDArray[np.uint64]) -> None: ...

class DocumentSets:
    def __init__(self, size: int) -> None: ...
    def unite(
        self,
        columns: Sequence[Sequence[npt.NDArray[np.uint64]]],
        texts: npt.NDArray[np.uint32] | None,
        parts: int,
        threads: int,
        pairs: Pairs | None,
        threshold: float,
    ) -> tuple[int, int, int]: ...
    def roots(self) -> npt.NDArray[np.uint32]: ...

def choose_stars(
    documents: npt.NDArray[np.uint32],
    starts: npt.NDArray[np.int64],
    texts: npt.NDArray[np.uint32],
    alike: Pairs,
    threshold: float,
    signatures: StoredSignatures,
    bands: int,
    rows: int,
    protected_documents: int,
    text_decides: bool,
    threads: int,
) -> tuple[npt.NDArray[np.uint32], int]: ...
def hash_texts(
    strings: object, simplify: bool, threads: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]: ...
def hash_lines(strings: object, least: int, threads: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]: ...
def drop_lines(strings: object, least: int, drop: npt.NDArray[np.uint8]) -> ArrowStrings: ...
def band_keys(signatures: npt.NDArray[Any], bands: int, rows: int, threads: int) -> npt.NDArray[np.uint64]: ...
def digest(name: str, data: bytes) -> int: ...

unicode_version: str

def normalize(
    strings: object, form: str, stream_safe: bool, threads: int, errors: str
) -> list[ArrowStrings | None]: ...
def is_normalized(strings: object, form: str, threads: int) -> bytes: ...
def lower(strings: object, threads: int, errors: str) -> list[ArrowStrings | None]: ...
def casefold(strings: object, threads: int, errors: str) -> list[ArrowStrings | None]: ...
def simplify(
    strings: object,
    *,
    lowercase: bool,
    norm_numbers: bool,
    norm_weekdays: bool,
    norm_monthnames: bool,
    remove_punctuation: bool,
    norm_whitespace: bool,
    norm_unicode_diacritics: bool,
    threads: int,
    errors: str,
) -> list[ArrowStrings | None]: ...
def clean(
    strings: object,
    *,
    form: str | None,
    line_endings: bool,
    control_characters: bool,
    zero_width: bool,
    spaces: bool,
    trailing_whitespace: bool,
    blank_lines: int,
    threads: int,
    errors: str,
) -> tuple[list[ArrowStrings | None], dict[str, int]]: ...
def redact(
    strings: object,
    *,
    emails: bool,
    ips: bool,
    public_only: bool,
    email_replacements: Sequence[str],
    ip_replacements: Sequence[str],
    threads: int,
    errors: str,
) -> list[ArrowStrings | None]: ...
def fix_mojibake(strings: object, threads: int, errors: str) -> list[ArrowStrings | None]: ...
def words(
    strings: object, language: str | None, threads: int
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]]: ...
def count_sentences(strings: object, language: str, threads: int) -> npt.NDArray[np.int64]: ...
def spacy_languages() -> list[str]: ...
def arrange(
    codes: npt.NDArray[np.uint32],
    places: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    turns: npt.NDArray[np.int32],
) -> list[tuple[Any, ...]]: ...
