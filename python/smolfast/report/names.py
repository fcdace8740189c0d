"""What things are called on the page: one plain name for each figure, whichever file it comes from."""

from __future__ import annotations

from smolfast.report.section import counted, words

LOSS_UNIT = "nats per token"
NEXT_TOKEN = "training loss, next token"
HELD_OUT = "held-out loss, next token"
TOTAL = "training loss, all heads weighted"

_FIGURES = {
    "loss": TOTAL,
    "held_out_loss": f"{HELD_OUT} (a part of the text)",
    "nats_per_token": f"{HELD_OUT} (whole evaluation)",
    "full": "stopped at the cap",
    "skipped_not_utf8": "left out: not UTF-8",
    "skipped_too_short": "left out: too short",
    "skipped_too_long": "left out: too long",
    "skipped_table": "left out: tables of numbers",
    "skipped_unreadable": "left out: unreadable",
    "skipped_package_cap": "left out: the package had given its share",
    "passed_over": "files passed over",
    "passed_over_files": "which files",
    "skipped": "documents left out",
    "clusters": "groups of duplicates",
    "near_by_jaccard": "near-duplicates by similarity",
    "vocab_size": "tokens in the vocabulary",
    "mtp_parameters": "parameters of the further heads",
    "resumed_from_step": "resumed from step",
    "unigram_bits_per_byte": "bits per byte, unigram model of bytes",
    "zlib_bits_per_byte": "bits per byte, zlib -9",
    "xz_bits_per_byte": "bits per byte, xz -9e",
    "text": "generated text",
}
# Counts of the data stages that are said in a sentence: one, many.
_COUNTED = {
    "exact_duplicates": ("exact duplicate", ""),
    "near_duplicates": ("near-duplicate", ""),
    "clusters": ("group of duplicates", "groups of duplicates"),
    "skipped": ("document left out", "documents left out"),
    "lines_removed": ("line removed", "lines removed"),
    "documents_changed": ("document changed", "documents changed"),
    "documents_replaced": ("document with bad bytes replaced", "documents with bad bytes replaced"),
    "documents_skipped": ("document left out for bad bytes", "documents left out for bad bytes"),
    "train_documents": ("document to train on", "documents to train on"),
    "held_out_documents": ("held-out document", ""),
    "vocab_size": ("token in the vocabulary", "tokens in the vocabulary"),
    "train_tokens": ("token to train on", "tokens to train on"),
    "held_out_tokens": ("held-out token", ""),
}


def head_name(head: int) -> str:
    """The training loss of the prediction head that looks `head` + 1 tokens ahead."""
    return NEXT_TOKEN if head == 0 else f"training loss, {head + 1} tokens ahead"


def figure_name(key: str) -> str:
    """A figure of a stage's record in plain words."""
    return _FIGURES.get(key) or words(key)


def figure_counted(key: str, value: float) -> str:
    """`1 near-duplicate`; a count without such words as `3 words of the key`."""
    one, many = _COUNTED.get(key, (words(key), words(key)))
    return counted(value, one, many)
