"""tokens.py: files from documents, every way they can be damaged, and the windows of training."""

from __future__ import annotations

import json
import resource
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

pytest.importorskip("tokenizers")
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from smolfast.commands.main import main
from smolfast.errors import SmolfastError
from smolfast.tokens.files import PackedWindows, TokenFile, tokenize

TEXTS = ["hello world", "", "naïve 日本語 😀\r\n", "the end <|endoftext|> is not the end", "hello"]


def write_tokenizer(folder: Path, extra: int = 0) -> Path:
    """A tokenizer of bytes alone, written without our own trainer: id of a byte = its place in the alphabet."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {character: index for index, character in enumerate(alphabet)}
    vocab.update({f"filler{index}": len(alphabet) + index for index in range(extra)})
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_documents(path: Path, texts: list[str], row_group_size: int = 2) -> Path:
    table = pa.table({"id": [str(i) for i in range(len(texts))], "text": pa.array(texts, pa.large_string())})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of token files, `train` made of TEXTS."""
    train = write_documents(tmp_path / "train.parquet", TEXTS)
    held_out = write_documents(tmp_path / "held_out.parquet", ["other"])
    output = tmp_path / "tokens"
    tokenize({"train": train, "held_out": held_out}, write_tokenizer(tmp_path / "tokenizer"), output)
    return output


def token_file(lengths: list[int], vocab_size: int = 60_000) -> TokenFile:
    """Distinct ids, so that a token says where it came from; documents of these lengths."""
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenFile(Path("x"), np.arange(starts[-1], dtype=np.uint16), starts, 0, vocab_size, 0)


# Writing


def test_files(folder: Path, tmp_path: Path) -> None:
    file = TokenFile.open(folder, "train")
    assert file.tokens.dtype == np.dtype("<u2")
    assert file.vocab_size == 257
    assert file.end_of_document == 256
    assert file.documents == len(TEXTS)
    assert file.utf8_bytes == sum(len(text.encode()) for text in TEXTS)
    assert not file.tokens.flags.writeable
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    decoder = decoders.ByteLevel()
    for index, text in enumerate(TEXTS):
        ids = file.tokens[file.document_starts[index] : file.document_starts[index + 1]]
        assert len(ids) == len(text.encode()) + 1
        assert ids[-1] == 256
        assert 256 not in ids[:-1]  # the characters of <|endoftext|> are no end
        assert decoder.decode([alphabet[i] for i in ids[:-1]]) == text
    assert TokenFile.open(folder, "held_out").documents == 1
    assert sorted(path.name for path in folder.iterdir()) == [
        "held_out.documents.npy",
        "held_out.tokens.npy",
        "tokens.json",
        "train.documents.npy",
        "train.tokens.npy",
    ]


def test_summary(tmp_path: Path) -> None:
    train = write_documents(tmp_path / "train.parquet", ["abc", "é"])
    notes = []
    summary = tokenize(
        {"train": train},
        write_tokenizer(tmp_path / "tokenizer"),
        tmp_path / "tokens",
        progress=lambda done, total, note: notes.append(note),
    )
    assert summary == {
        "documents_in": 2,
        "bytes_in": 5,
        "documents_out": 2,
        "bytes_out": 14,
        "vocab_size": 257,
        "train_tokens": 7,
        "train_bytes_per_token": round(5 / 7, 4),
    }
    assert notes == ["train: 7 tokens"]


def test_a_large_vocabulary_takes_four_bytes(tmp_path: Path) -> None:
    train = write_documents(tmp_path / "train.parquet", ["abc"])
    for extra, dtype in ((65_536 - 257, "<u2"), (65_536 - 256, "<u4")):
        tokenize({"train": train}, write_tokenizer(tmp_path / "tokenizer", extra), tmp_path / "tokens")
        file = TokenFile.open(tmp_path / "tokens", "train")
        assert file.tokens.dtype == np.dtype(dtype)
        assert file.tokens[-1] == file.end_of_document == 256 + extra


def test_bytes_do_not_depend_on_the_container(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    write_documents(tmp_path / "a.parquet", TEXTS, row_group_size=1)
    write_documents(tmp_path / "b.parquet", TEXTS, row_group_size=100)
    (tmp_path / "c.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    made = []
    for name in ("a.parquet", "b.parquet", "c.jsonl"):
        tokenize({"train": tmp_path / name}, tokenizer, tmp_path / "tokens")
        made.append({path.name: path.read_bytes() for path in (tmp_path / "tokens").iterdir()})
    assert made[0] == made[1] == made[2]


def test_no_documents(tmp_path: Path) -> None:
    empty = write_documents(tmp_path / "train.parquet", [])
    with pytest.raises(SmolfastError, match="holds no documents to tokenize"):
        tokenize({"train": empty}, write_tokenizer(tmp_path / "tokenizer"), tmp_path / "tokens")


@pytest.mark.parametrize("content", [None, "", "{}", "not json", '{"model": {"type": "Nonsense"}}'])
def test_bad_tokenizer(tmp_path: Path, content: str | None) -> None:
    train = write_documents(tmp_path / "train.parquet", TEXTS)
    (tmp_path / "tokenizer").mkdir()
    if content is not None:
        (tmp_path / "tokenizer" / "tokenizer.json").write_text(content)
    with pytest.raises(SmolfastError, match=r"tokenizer\.json"):
        tokenize({"train": train}, tmp_path / "tokenizer", tmp_path / "tokens")
    assert not (tmp_path / "tokens").exists()


def test_tokenizer_without_an_end(tmp_path: Path) -> None:
    train = write_documents(tmp_path / "train.parquet", TEXTS)
    (tmp_path / "tokenizer").mkdir()
    Tokenizer(models.BPE({"a": 0}, [])).save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    with pytest.raises(SmolfastError, match=r"has no token <\|endoftext\|>"):
        tokenize({"train": train}, tmp_path / "tokenizer", tmp_path / "tokens")


@pytest.mark.parametrize("limit", [0, 100, 2000])
def test_full_disk(tmp_path: Path, limit: int) -> None:
    """A limit on file sizes fails writes in the same place as a full disk, at any user's privileges."""
    train = write_documents(tmp_path / "train.parquet", ["x" * 2000])
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(SmolfastError, match=r"can't write .*train\.tokens\.npy"):
            tokenize({"train": train}, tokenizer, tmp_path / "tokens")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "tokens").iterdir()) == []


@pytest.mark.parametrize("errors", ["fail", "replace", "skip"])
def test_the_commands_read_with_the_same_options(
    errors: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`tokenize --text-column --errors`, with a tokenizer to train; evaluate then reads what tokenize read."""
    lines = [json.dumps({"body": f"some words, some words {index}"}) for index in range(60)]
    lines[7], lines[9] = '{"body": "a lone \\ud83d"}', '{"body": null}'
    for name in ("train", "held_out"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))

    def run(*arguments: str | Path) -> int:
        return main([*map(str, arguments), "--quiet", "--json"])

    tokens = tmp_path / "tokens"
    files = (tmp_path / "train.jsonl", "--held-out", tmp_path / "held_out.jsonl", "-o", tokens)
    assert run("tokenize", *files, "--set", "tokenizer.vocab_size=262", "--errors", "replace") == 2
    assert "no column 'text'; give as --text-column one of those it has: body" in capsys.readouterr().err
    code = run("tokenize", *files, "--set", "tokenizer.vocab_size=262", "--text-column", "body", "--errors", errors)
    if errors == "fail":
        assert code == 2
        error = capsys.readouterr().err
        assert "train.jsonl, line 8: " in error or "train.jsonl, line 10: " in error
        assert "give --errors replace or --errors skip" in error
        return
    assert code == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["documents_in"], summary["documents_out"]) == (120, 120 if errors == "replace" else 116)
    assert summary["documents_replaced" if errors == "replace" else "documents_skipped"] == 4
    assert TokenFile.open(tokens, "train").documents == (60 if errors == "replace" else 58)
    shape = ["hidden_size=16", "intermediate_size=16", "num_hidden_layers=1", "num_attention_heads=2", "head_dim=8"]
    shape += ["num_key_value_heads=1"]
    settings = [f"model.{value}" for value in shape] + ["train.steps=1", "train.sequence_length=8"]
    settings += ["train.batch_size=4", "train.micro_batch_size=4"]
    chosen = [word for setting in settings for word in ("--set", setting)]
    assert run("train", tokens, "-o", tmp_path / "run", *chosen) == 0
    model = tmp_path / "run" / "model"
    arguments = ("--tokens", tokens, "--held-out", tmp_path / "held_out.jsonl", "-o", tmp_path / "e")
    capsys.readouterr()
    assert run("evaluate", model, *arguments) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == (60 if errors == "replace" else 58)
    assert run("export", model, "--tokenizer", tmp_path / "tokens-tokenizer", "-o", tmp_path / "export") == 0
    capsys.readouterr()
    assert run("generate", tmp_path / "export", "--prompt", "a\udcff") == 2  # a byte that isn't UTF-8, as Python has it
    assert "can't encode the prompt (not UTF-8: U+DCFF at character 1); give another one" in capsys.readouterr().err


# Opening damaged files


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SmolfastError, match="no such file"):
        TokenFile.open(tmp_path / "nowhere", "train")
    with pytest.raises(SmolfastError, match="describes no token file 'other'"):
        TokenFile.open(folder, "other")
    (folder / "train.tokens.npy").unlink()
    with pytest.raises(SmolfastError, match=r"train\.tokens\.npy: no such file"):
        TokenFile.open(folder, "train")


@pytest.mark.parametrize("content", ["[]", "{}", '{"vocab_size": "many"}', "null", "nonsense"])
def test_bad_index(folder: Path, content: str) -> None:
    (folder / "tokens.json").write_text(content)
    with pytest.raises(SmolfastError, match=r"tokens\.json"):
        TokenFile.open(folder, "train")


@pytest.mark.parametrize("name", ["train.tokens.npy", "train.documents.npy"])
def test_truncated_arrays(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    for length in (0, 1, 8, 100, 128, len(whole) - 1):
        (folder / name).write_bytes(whole[:length])
        with pytest.raises(SmolfastError, match=name):
            TokenFile.open(folder, "train")


@pytest.mark.parametrize("name", ["train.tokens.npy", "train.documents.npy"])
@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3, "<u2"),
        np.zeros(0, "<u2"),
        np.zeros((2, 2), "<u2"),
        np.zeros(6, "<f8"),
        np.zeros(6, ">i8"),
        np.array([1, "x", None, 2, 3, 4], object),
    ],
)
def test_other_arrays(folder: Path, name: str, array: npt.NDArray[np.generic]) -> None:
    np.save(folder / name, array, allow_pickle=True)
    with pytest.raises(SmolfastError, match=name):
        TokenFile.open(folder, "train")


def test_arrays_that_are_archives(folder: Path) -> None:
    np.savez(folder / "train.tokens.npz", np.zeros(3))
    (folder / "train.tokens.npz").replace(folder / "train.tokens.npy")
    with pytest.raises(SmolfastError, match=r"train\.tokens\.npy is not an array"):
        TokenFile.open(folder, "train")


def test_inconsistent_boundaries(folder: Path) -> None:
    starts = np.load(folder / "train.documents.npy")
    for index, value in ((0, 1), (-1, starts[-1] - 1), (2, starts[1]), (1, -5), (3, starts[-1] + 9)):
        wrong = starts.copy()
        wrong[index] = value
        np.save(folder / "train.documents.npy", wrong)
        with pytest.raises(SmolfastError, match=r"train\.documents\.npy does not fit train\.tokens\.npy"):
            TokenFile.open(folder, "train")
    wrong = starts.copy()
    wrong[1] -= 1
    np.save(folder / "train.documents.npy", wrong)
    with pytest.raises(SmolfastError, match="document that does not end with token 256"):
        TokenFile.open(folder, "train")


@given(st.binary(max_size=300))
def test_garbage_never_escapes_as_another_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("garbage")
    index = {"vocab_size": 9, "end_of_document": 0, "files": {"x": {"documents": 1, "tokens": 2, "utf8_bytes": 1}}}
    (folder / "tokens.json").write_text(json.dumps(index))
    for prefix in (b"", b"\x93NUMPY\x01\x00"):
        (folder / "x.tokens.npy").write_bytes(prefix + data)
        with pytest.raises(SmolfastError, match=r"x\.tokens\.npy"):
            TokenFile.open(folder, "x")


def test_ids_beyond_the_vocabulary() -> None:
    windows = PackedWindows(token_file([20], vocab_size=15), sequence_length=8, batch_size=2, seed=0)
    with pytest.raises(SmolfastError, match="has token 16 in a vocabulary of 15"):
        windows.batch(0)


# Windows


def stream_of(batches: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]]) -> list[list[int]]:
    return [row.tolist() for tokens, _ in batches for row in tokens]


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=30),
    st.integers(1, 20),
    st.integers(1, 5),
    st.integers(0, 1 << 70),
)
def test_an_epoch_uses_every_token_once(lengths: list[int], sequence: int, batch: int, seed: int) -> None:
    count = sum(lengths)
    assume(count > sequence * batch)
    file = token_file(lengths)
    windows = PackedWindows(file, sequence, batch, seed)
    assert windows.steps_per_epoch == (count - 1) // sequence // batch
    document_of = np.repeat(np.arange(len(lengths)), lengths)
    orders = []
    for epoch in range(2):
        batches = [windows.batch(epoch * windows.steps_per_epoch + step) for step in range(windows.steps_per_epoch)]
        inputs: Counter[int] = Counter()
        targets: Counter[int] = Counter()
        follows: dict[int, int] = {}
        for tokens, ids in batches:
            assert tokens.shape == ids.shape == (batch, sequence + 1)
            assert tokens.dtype == np.int64 and ids.dtype == np.int32
            inputs.update(tokens[:, :-1].ravel().tolist())
            targets.update(tokens[:, 1:].ravel().tolist())
            for row, row_ids in zip(tokens, ids, strict=True):
                follows.update(zip(row[:-1].tolist(), row[1:].tolist(), strict=True))
                # Documents are told apart exactly where they differ, counting from 0.
                changes = np.diff(document_of[row]) != 0
                assert row_ids[0] == 0
                assert np.array_equal(np.diff(row_ids), changes.astype(int))
        used = windows.steps_per_epoch * sequence * batch
        assert len(inputs) == len(targets) == used  # none twice
        assert set(inputs.values()) == set(targets.values()) == {1}
        assert 0 <= count - 1 - used < sequence * batch  # the tail left out
        # Within a document the order is the file's; between documents, an end is followed by a beginning.
        starts = set(file.document_starts[:-1].tolist())
        for token, following in follows.items():
            assert following == token + 1 or (token + 1 in {*starts, count} and following in starts)
        orders.append(stream_of(batches))
    if len(set(lengths)) > 8 and windows.steps_per_epoch > 4:
        assert orders[0] != orders[1]


def test_any_step_comes_from_seed_and_step_alone() -> None:
    file = token_file([5, 17, 1, 40, 9, 22, 13] * 5)
    windows = PackedWindows(file, 7, 3, seed=1)
    count = 3 * windows.steps_per_epoch
    forward = [windows.batch(step) for step in range(count)]
    for step in [count - 1, 0, windows.steps_per_epoch, 3, 2]:
        for got in (windows.batch(step), PackedWindows(file, 7, 3, seed=1).batch(step)):
            assert np.array_equal(got[0], forward[step][0])
            assert np.array_equal(got[1], forward[step][1])
    other = PackedWindows(file, 7, 3, seed=2)
    assert stream_of([other.batch(step) for step in range(count)]) != stream_of(forward)


def plain_order(count: int, seed: int, stream: int) -> list[int]:
    """The documented order in Python's integers."""

    def splitmix64(state: int) -> int:
        z = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    assert splitmix64(0) == 0xE220A8397B1DCDAF  # the first output of the published generator for seed 0
    base = splitmix64(splitmix64(seed % 2**64) ^ stream)
    return sorted(range(count), key=lambda index: splitmix64((base + index) % 2**64))


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1, 2**64 + 7])
def test_windows_equal_the_concatenation_cut_up(seed: int) -> None:
    lengths = [3, 5, 2, 14, 6, 1, 9, 30, 2, 2]
    file = token_file(lengths)
    windows = PackedWindows(file, 4, 3, seed)
    for step in range(3 * windows.steps_per_epoch):
        epoch, inner = divmod(step, windows.steps_per_epoch)
        stream = [
            (int(token), document)
            for document in plain_order(len(lengths), seed, 2 * epoch)
            for token in file.tokens[file.document_starts[document] : file.document_starts[document + 1]]
        ]
        chosen = plain_order((len(stream) - 1) // 4, seed, 2 * epoch + 1)[3 * inner : 3 * inner + 3]
        rows = [stream[window * 4 : window * 4 + 5] for window in chosen]
        tokens, ids = windows.batch(step)
        assert tokens.tolist() == [[token for token, _ in row] for row in rows]
        assert ids.tolist() == [[list(dict.fromkeys(d for _, d in row)).index(d) for _, d in row] for row in rows]


def test_positions_are_where_the_tokens_stand() -> None:
    windows = PackedWindows(token_file([9, 30, 4, 17, 50]), 7, 3, seed=2)
    for step in range(2 * windows.steps_per_epoch):
        tokens, _ = windows.batch(step)
        _, _, positions = windows.windows(step * 3, 3)
        assert positions.shape == tokens.shape
        assert np.array_equal(windows.tokens.tokens[positions], tokens)


def test_order_is_shuffled_evenly() -> None:
    """Over seeds, each document comes first about equally often (chi-squared, 9 degrees of freedom, p > 1e-6)."""
    file = token_file([1] * 10)
    first = Counter(int(PackedWindows(file, 9, 1, seed).batch(0)[0][0, 0]) for seed in range(2000))
    assert sum((first[i] - 200) ** 2 / 200 for i in range(10)) < 46.0


def test_windows_of_a_large_file_are_quick() -> None:
    """Nothing as long as the file is made for a batch."""
    import tracemalloc

    lengths = np.full(10_000, 1000)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    file = TokenFile(Path("x"), np.zeros(starts[-1], np.uint16), starts, 0, 1, 0)
    windows = PackedWindows(file, 256, 16, seed=0)
    tracemalloc.start()
    windows.batch(windows.steps_per_epoch // 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(file.tokens) // 2


@pytest.mark.parametrize(("count", "enough"), [(1, False), (32, False), (33, True)])
def test_too_little_text(count: int, enough: bool) -> None:
    file = token_file([count])
    if enough:
        assert PackedWindows(file, 8, 4, seed=0).steps_per_epoch == 1
        return
    with pytest.raises(
        SmolfastError, match=f"too little text to train on: x has {count} tokens, need at least 33"
    ) as error:
        PackedWindows(file, 8, 4, seed=0)
    assert "give more text or lower train.sequence_length (8) × train.batch_size (4)" in str(error.value)


def test_negative_step() -> None:
    with pytest.raises(ValueError, match="negative"):
        PackedWindows(token_file([100]), 8, 4, seed=0).batch(-1)
