"""Columns of polars and duckdb in and out, without a copy on the way in; and our functions inside a duckdb query.

Held to polars' own `str.normalize` and to duckdb's own `nfc_normalize`.
"""

import duckdb
import polars as pl
import pyarrow as pa

from smolfast import text
from smolfast.dedup import MinHasher

DOCUMENTS = [
    "cafe\u0301 ﬁnd ① " * 5, None, "", "Ångström A\u030a", "plain words of a document that is long enough",
    "plain words of a document that is long enough",
] * 4  # fmt: skip


def with_polars() -> dict[str, float]:
    frame = pl.DataFrame({"text": DOCUMENTS})
    ours = frame.with_columns(pl.Series("text", text.normalize(frame["text"], "NFKC")))
    theirs = frame.with_columns(pl.col("text").str.normalize("NFKC"))
    signatures = MinHasher().signatures(frame["text"])
    signed = frame.with_columns(pl.Series("signature", signatures))
    unique = signed.unique("signature", keep="first", maintain_order=True)
    return {
        "polars: rows that changed": int((ours["text"] != frame["text"]).sum()),
        "polars: rows that differ from str.normalize": int(ours["text"].ne_missing(theirs["text"]).sum()),
        "polars: documents left of different signature": unique.height,
        "polars: distinct documents": frame.with_columns(pl.col("text").fill_null("")).unique("text").height,
    }


def with_duckdb() -> dict[str, float]:
    connection = duckdb.connect()
    connection.register("documents", pa.table({"text": pa.array(DOCUMENTS)}))
    relation = connection.sql("select text, nfc_normalize(text) as theirs from documents").to_arrow_table()
    ours, theirs = text.normalize(relation["text"], "NFC").to_pylist(), relation["theirs"].to_pylist()

    def normalize(column: pa.ChunkedArray) -> pa.ChunkedArray:
        return text.normalize(column, "NFC")

    connection.create_function("ours", normalize, ["VARCHAR"], "VARCHAR", type="arrow")
    inside = [row[0] for row in connection.sql("select ours(text) from documents").fetchall()]
    back = connection.from_arrow(pa.table({"text": ours})).aggregate("count(distinct text)").fetchall()
    connection.close()
    return {
        "duckdb: rows that changed": sum(a != b for a, b in zip(ours, DOCUMENTS, strict=True)),
        "duckdb: rows that differ from nfc_normalize": sum(a != b for a, b in zip(ours, theirs, strict=True)),
        "duckdb: rows that differ inside a query": sum(a != b for a, b in zip(inside, theirs, strict=True)),
        "duckdb: distinct documents, read back": back[0][0],
    }


def main() -> dict[str, float]:
    return with_polars() | with_duckdb()


if __name__ == "__main__":
    for name, figure in main().items():
        print(f"{name}: {figure:.3g}")
