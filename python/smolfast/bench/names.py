"""What the page calls a benchmark, a job, its input and who did it: plain words for the short names of results."""

from __future__ import annotations

import re

TITLES = {
    "text": "Text",
    "dedup": "Deduplication",
    "curate": "Curation",
    "classify": "Classification",
    "attention": "Attention",
    "loss": "Multi-token loss",
    "optim": "Muon",
    "train": "Training",
    "preferences": "Preferences",
    "pdf": "PDF files",
    "edge": "Small devices",
    "tokens": "Tokens, and the start of commands",
    "gpu": "GPU kernels",
}
_PARTS = {
    ("text", "threads"): "a large column",
    ("text", "simplify"): "simplify (FineWeb's simplify_text)",
    ("dedup", "signatures"): "text to signatures",
    ("dedup", "job"): "parquet to deduplicated parquet",
    ("dedup", "hostile"): "hostile documents",
    ("dedup", "scale"): "many documents",
    ("tokens", "tokenize"): "parquet to token files, whole process",
    ("tokens", "dedup"): "parquet to deduplicated parquet, whole process",
    ("tokens", "train a tokenizer"): "a tokenizer trained, whole process",
    ("tokens", "start"): "a command's start",
    ("classify", "label"): "the label of a text",
    ("classify", "threads"): "the label of a text, by threads",
    ("pdf", "made"): "order and content of made documents",
    ("pdf", "assertions"): "assertions that hold",
    ("pdf", "real"): "real manuals, beside their HTML or text",
    ("pdf", "speed"): "text of whole files",
    ("pdf", "workers"): "files read by one worker and by two",
    ("pdf", "routing"): "which pages go to OCR",
    ("pdf", "ocr"): "characters that OCR gets wrong",
    ("curate", "fineweb"): "FineWeb's filters",
    ("curate", "fineweb-2"): "FineWeb-2's filters",
}
_CASES = {
    "ascii": "ASCII",
    "japanese+chinese+russian+arabic": "Japanese, Chinese, Russian, Arabic",
    "real-95": "real text, 95 MB",
    "real-95-30-words": "real text, 30 words a document",
    "equal": "all equal",
    "chain": "a chain of near-copies",
    "giant": "a giant among small ones",
    "1 of 256 × 2048": "1 of 256 × 2,048",
}
FUNCTIONS = ("casefold", "clean", "fix_mojibake", "redact", "simplify", "words")
"""Jobs that are named after a function of `smolfast.text`."""
NOTES = {
    "attention": "Packed are five documents in one row. A window of 256 sees the last 256 tokens. 1k is 1,024 tokens.",
    "loss": "V is the size of the vocabulary; k is how many tokens ahead are predicted.",
    "optim": "Matrices of rows × columns, so many at a time.",
    "edge": "Weights are those that training begins with; smolfast and transformers have 32 bits of each.",
    "train": "Compact is the shape of quickstart, small has 6 layers of 256.",
}
"""What a reader needs to know of a benchmark's cases."""
_LANGUAGES = ("french", "german", "vietnamese", "korean", "japanese")
_CONTENDERS = {
    "naive": "cross_entropy(linear(…))",
    "sdpa": "SDPA",
    "sdpa by document": "SDPA by document",
    "torch": "a plain torch loop",
    "trainer": "transformers' Trainer",
}


def title(benchmark: str) -> str:
    """Of a benchmark: `Deduplication`."""
    return TITLES.get(benchmark, benchmark)


def part(benchmark: str, name: str) -> str:
    """Of a job: `text to signatures`."""
    return _PARTS.get((benchmark, name), name)


def case(name: str) -> str:
    """Of an input: `French and German`; numbers of four digits and more with their thousands set apart."""
    if name in _CASES:
        return _CASES[name]
    if name.isdecimal():
        return f"{int(name):,} documents"
    if name.startswith(_LANGUAGES):
        return re.sub("|".join(_LANGUAGES), lambda found: found[0].capitalize(), name).replace("+", " and ")
    return re.sub(r"(?<![\d.])\d{4,}(?![\d.])", lambda found: f"{int(found[0]):,}", name)


def contender(name: str) -> str:
    """Of who did it: ours is smolfast, and a peer is named in full."""
    return "smolfast" if name == "ours" else _CONTENDERS.get(name, name.replace("ours", "smolfast"))
