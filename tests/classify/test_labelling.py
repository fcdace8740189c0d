"""Labels of files' documents: what is refused before any work, and what columns may hold."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_model import make

from smolfast.classify import label_documents
from smolfast.commands.main import main
from smolfast.errors import SmolfastError


def written(tmp_path: Path, texts: pa.Array) -> tuple[Path, Path]:
    """A file of texts, and a model."""
    documents, model = tmp_path / "in.parquet", tmp_path / "m.bin"
    pq.write_table(pa.table({"text": texts}), documents)
    model.write_bytes(make().to_bytes())
    return documents, model


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": 2.0}, "threshold = 2.0: give a number from 0 to 1"),
        ({"threshold": -1.0}, "threshold = -1.0: give a number from 0 to 1"),
        ({"threshold": float("nan")}, "threshold = nan: give a number from 0 to 1"),
        ({"column": ""}, "column = '': the label's column needs a name"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, float], said: str) -> None:
    documents, model = written(tmp_path, pa.array(["the"]))
    with pytest.raises(SmolfastError, match=f"^{said}"):
        label_documents([documents], tmp_path / "out.parquet", model=model, **options)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "m.bin"]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (pa.array([["the"], ["of"]]), "column 'text' holds list<element: string>, not strings"),
        (pa.array([1, 2]), "column 'text' holds int64, not strings"),
        (pa.nulls(2), "row 0, column 'text': the text is missing (null)"),
    ],
)
def test_columns_that_hold_no_texts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], texts: pa.Array, said: str
) -> None:
    documents, model = written(tmp_path, texts)
    arguments = ["classify", "predict", documents, "-m", model, "-o", tmp_path / "out.parquet", "--quiet"]
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "out.parquet").exists()


def test_a_dictionary_is_as_good_as_its_strings(tmp_path: Path) -> None:
    texts = pa.array(["the w1", "w2 of", "the w1"])
    found = []
    for column in (texts, texts.dictionary_encode()):
        documents, model = written(tmp_path, column)
        label_documents([documents], tmp_path / "out.parquet", model=model)
        found.append(pq.read_table(tmp_path / "out.parquet").select(["label", "label_score"]))
    assert found[0].equals(found[1]) and found[0].num_rows == 3
