"""Bits per byte against a token-by-token computation of the protocol, and the comparisons beside it."""

from __future__ import annotations

import json
import lzma
import math
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from smolfast.commands.main import main
from smolfast.config import EvaluateConfig, TokenizerConfig
from smolfast.errors import SmolfastError
from smolfast.evaluate.bits_per_byte import choose_documents, code_lengths, evaluate, unigram_bits_per_byte
from smolfast.model.network import PackedBatch, SmolLM
from smolfast.model.pretrained import load_pretrained, save_pretrained
from smolfast.tokens.files import TokenFile, tokenize
from smolfast.tokens.tokenizer import train_tokenizer
from smolfast.workers import Workers
from tiny_models import tiny

CONFIG = tiny(max_position_embeddings=16, initializer_range=0.3)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_pretrained(SmolLM(CONFIG, 512, seed=1), folder, end_of_document=0)
    return folder


def code_length_by_hand(model: SmolLM, document: np.ndarray, context: int) -> float:
    """Each target from the first window, at strides of half a window, that reaches it."""
    nats = math.log(model.vocab_size)
    for target in range(1, len(document)):
        start = 0
        while start + context < target:
            start += context // 2
        logits = model.logits(PackedBatch.from_documents([document[start:target]]))[-1]
        nats -= float(torch.log_softmax(logits, -1)[document[target]])
    return nats


@pytest.mark.parametrize("context", [16, 7])
@torch.no_grad()
def test_every_token_is_coded_once_with_the_stated_context(context: int) -> None:
    config = CONFIG.model_copy(update={"max_position_embeddings": context})
    model = SmolLM(config, 512, seed=1).double()
    generator = np.random.default_rng(0)
    lengths = (1, 2, context + 1, context + 2, 40)
    documents = [generator.integers(0, 512, length) for length in lengths]
    expected = [code_length_by_hand(model, document, context) for document in documents]
    with Workers(1) as workers:
        assert code_lengths(model, documents, workers).tolist() == pytest.approx(expected, rel=1e-9)


@torch.no_grad()
def test_a_model_that_knows_nothing_pays_the_vocabulary_for_each_token() -> None:
    model = SmolLM(CONFIG, 512)
    model.unembedding.zero_()
    documents = [np.arange(length) % 512 for length in (1, 5, 100, 3000)]
    with Workers(2) as workers:
        assert code_lengths(model, documents, workers).sum() == pytest.approx(3106 * math.log(512), rel=1e-6)


def test_figures_of_a_held_out_set(corpus: SimpleNamespace, model_folder: Path, tmp_path: Path) -> None:
    seen = []
    result = evaluate(
        model_folder,
        corpus.tokens,
        tmp_path,
        EvaluateConfig(),
        held_out_documents=corpus.held_out,
        progress=lambda done, total, note: seen.append((done, total)),
    )
    assert json.loads((tmp_path / "evaluation.json").read_text()) == result
    text = "".join(pq.read_table(corpus.held_out)["text"].to_pylist()).encode()
    file = TokenFile.open(corpus.tokens, "held_out")
    assert (result["bytes"], result["tokens"], result["documents"]) == (len(text), len(file.tokens), file.documents)
    assert result["bits_per_byte"] * len(text) * math.log(2) == pytest.approx(
        result["nats_per_token"] * len(file.tokens)
    )
    assert result["zlib_bits_per_byte"] == 8 * len(zlib.compress(text, 9)) / len(text)
    assert result["xz_bits_per_byte"] == 8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) / len(text)
    assert result["unigram_bits_per_byte"] == unigram_bits_per_byte(text)
    assert seen[-1] == (len(seen), len(seen))


def test_figures_of_each_source(corpus: SimpleNamespace, model_folder: Path, tmp_path: Path) -> None:
    """A source's figures are those of its documents alone, and together they make the whole."""
    table = pq.read_table(corpus.held_out)
    names = ["code" if index % 3 else "web" for index in range(table.num_rows)]
    both = tmp_path / "both.parquet"
    pq.write_table(table.append_column("origin", [names]), both)

    def run(documents: Path, tokens: Path, **options: Any) -> dict[str, Any]:
        return evaluate(
            model_folder, tokens, tmp_path / "out", EvaluateConfig(), held_out_documents=documents, **options
        )

    result = run(both, corpus.tokens, source_column="origin")
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == result
    assert list(result["sources"]) == ["code", "web"]
    for name, found in result["sources"].items():
        alone = tmp_path / f"{name}.parquet"
        pq.write_table(table.filter(np.array(names) == name), alone)
        tokenize({"held_out": alone}, corpus.tokenizer, tmp_path / name)
        expected = run(alone, tmp_path / name)
        assert found == {key: pytest.approx(expected[key], rel=1e-6) for key in found}
    bits = sum(found["bits_per_byte"] * found["bytes"] for found in result["sources"].values())
    assert bits / result["bytes"] == pytest.approx(result["bits_per_byte"])
    with pytest.raises(SmolfastError, match="origin2"):
        run(both, corpus.tokens, source_column="origin2")


def test_threads_change_nothing(corpus: SimpleNamespace, model_folder: Path, tmp_path: Path) -> None:
    results = [
        evaluate(
            model_folder,
            corpus.tokens,
            tmp_path,
            EvaluateConfig(max_bytes=9000),
            held_out_documents=corpus.held_out,
            threads=threads,
        )
        for threads in (1, 2)
    ]
    assert results[0] == results[1]
    assert 0 < results[0]["bytes"] <= 9000


def test_unigram_is_the_entropy_of_the_bytes() -> None:
    assert unigram_bits_per_byte(b"abab") == pytest.approx(1.0)
    assert unigram_bits_per_byte(b"aaab") == pytest.approx(0.25 * 2 + 0.75 * math.log2(4 / 3))
    assert unigram_bits_per_byte(bytes(range(256)) * 3) == pytest.approx(8.0)


def test_documents_are_drawn_by_hash_whatever_their_order() -> None:
    texts = [bytes([65 + index]) * (10 + index) for index in range(20)]
    chosen = choose_documents(texts, 100)
    assert chosen == sorted(chosen)
    assert 0 < sum(len(texts[index]) for index in chosen) <= 100
    backwards = choose_documents(texts[::-1], 100)
    assert {texts[index] for index in chosen} == {texts[::-1][index] for index in backwards}
    assert choose_documents(texts, 10**6) == list(range(20))
    assert len(choose_documents(texts, 1)) == 1


def test_parts_that_do_not_belong_together(corpus: SimpleNamespace, model_folder: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other.parquet", tmp_path / "out"
    pq.write_table(pq.read_table(corpus.held_out).slice(1), other)
    with pytest.raises(SmolfastError, match=r"was not made from .*other\.parquet; tokenize again"):
        evaluate(model_folder, corpus.tokens, out, EvaluateConfig(), held_out_documents=other)
    save_pretrained(SmolLM(CONFIG, 300), tmp_path / "small", end_of_document=0)
    with pytest.raises(SmolfastError, match=r"a vocabulary of 300, .* one of 512; tokenize with"):
        evaluate(tmp_path / "small", corpus.tokens, out, EvaluateConfig(), held_out_documents=corpus.held_out)
    assert not out.exists()


def test_empty_documents(corpus: SimpleNamespace, model_folder: Path, tmp_path: Path) -> None:
    """No division by nothing: a source of empty documents has no bits per byte, and a set of them is an error."""
    pq.write_table(pa.table({"text": ["", "some text", ""], "from": ["a", "b", "a"]}), tmp_path / "held_out.parquet")
    tokenize({"held_out": tmp_path / "held_out.parquet"}, corpus.tokenizer, tmp_path / "tokens")

    def run(max_bytes: int) -> dict[str, Any]:
        return evaluate(
            model_folder,
            tmp_path / "tokens",
            tmp_path / "evaluation",
            EvaluateConfig(max_bytes=max_bytes),
            held_out_documents=tmp_path / "held_out.parquet",
            source_column="from",
        )

    found = run(100)["sources"]
    assert found["a"]["bits_per_byte"] is None and found["b"]["bits_per_byte"] > 0
    texts = [b"", b"some text", b""]
    if choose_documents(texts, 1) == [0, 2]:  # empty ones come first by their hashes
        with pytest.raises(SmolfastError, match=r"are empty; .*evaluate\.max_bytes"):
            run(1)
    pq.write_table(pa.table({"text": ["", ""], "from": ["a", "b"]}), tmp_path / "held_out.parquet")
    tokenize({"held_out": tmp_path / "held_out.parquet"}, corpus.tokenizer, tmp_path / "tokens")
    with pytest.raises(SmolfastError, match="are empty; give other held-out documents"):
        run(100)


def test_conversations_are_refused(corpus: SimpleNamespace, model_folder: Path, tmp_path: Path) -> None:
    tokenize({"held_out": corpus.held_out}, corpus.tokenizer, tmp_path)
    index = json.loads((tmp_path / "tokens.json").read_text())
    (tmp_path / "tokens.json").write_text(json.dumps({**index, "learned": True}))
    tokens = np.load(tmp_path / "held_out.tokens.npy")
    np.save(tmp_path / "held_out.learned.npy", np.ones(len(tokens), bool))
    with pytest.raises(SmolfastError, match="holds conversations; evaluate takes token files of documents"):
        evaluate(model_folder, tmp_path, tmp_path / "e", EvaluateConfig(), held_out_documents=corpus.held_out)


def test_bits_per_byte_by_position_and_by_language(corpus: SimpleNamespace, model_folder: Path, tmp_path: Path) -> None:
    """Bins hold each token once; in windows as long as documents a bin is what tokens of those places take."""
    table = pq.read_table(corpus.held_out)
    languages = [("en", "fr", "de", "it", "es", "pt")[index % 6] for index in range(table.num_rows)]
    both = tmp_path / "both.parquet"
    pq.write_table(table.append_column("language", [languages]), both)
    longest = int(np.diff(TokenFile.open(corpus.tokens, "held_out").document_starts).max())
    result = evaluate(
        model_folder, corpus.tokens, tmp_path / "out", EvaluateConfig(context=longest), held_out_documents=both,
        language_column="language", tokenizer=corpus.tokenizer,
    )  # fmt: skip
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == result
    assert set(result["languages"]) == set(languages)
    assert sum(found["bytes"] for found in result["languages"].values()) == result["bytes"]
    bins = result["positions"]
    assert [one["from"] for one in bins] == [1, *(16 << at for at in range(len(bins) - 1))]
    # The first token of a document has nothing before it and stands in no bin.
    assert sum(one["tokens"] for one in bins) == result["tokens"] - result["documents"]
    first = [text.encode() for text in table["text"].to_pylist()]
    assert 0 < result["bytes"] - sum(one["bytes"] for one in bins) < sum(min(32, len(text)) for text in first)
    file, model = TokenFile.open(corpus.tokens, "held_out"), load_pretrained(model_folder)
    nats = np.zeros(2)
    for start, end in zip(file.document_starts, file.document_starts[1:], strict=False):
        with torch.no_grad():
            losses = model.token_losses(PackedBatch.from_documents([file.tokens[start:end].astype(np.int64)]), 1)[0]
        nats += losses[:15].sum().item(), losses[15:31].sum().item()
    for found, expected in zip(bins, nats, strict=False):
        assert found["bits_per_byte"] * found["bytes"] * math.log(2) == pytest.approx(expected, rel=1e-5)


def test_positions_need_the_tokenizer_of_the_tokens(
    corpus: SimpleNamespace, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["evaluate", str(model_folder), "--tokens", str(corpus.tokens), "--held-out", str(corpus.held_out)]
    assert main([*line, "-o", str(tmp_path / "out"), "--by-position"]) == 2
    assert "holds no tokenizer, which --by-position needs; add --tokenizer DIR" in capsys.readouterr().err
    train_tokenizer([corpus.held_out], tmp_path / "other", TokenizerConfig(vocab_size=300))
    assert main([*line, "-o", str(tmp_path / "out"), "--by-position", "--tokenizer", str(tmp_path / "other")]) == 2
    assert "is not the tokenizer that" in capsys.readouterr().err
    assert main([*line, "-o", str(tmp_path / "out"), "--by-position", "--tokenizer", str(corpus.tokenizer)]) == 0
    assert "Bits per byte by position" in (tmp_path / "out" / "evaluation.html").read_text()
    assert main([*line, "-o", str(tmp_path / "other-out"), "--language-column", "tongue"]) == 2
    assert "has no column 'tongue'" in capsys.readouterr().err
