"""Hugging Face datasets: clean and sign documents in a batched `map` over Arrow tables.

The same rows as from Python's own unicodedata in a plain `map`, and the signatures of one call over all rows.
"""

import unicodedata

import numpy as np
import pyarrow as pa
from _documents import DOCUMENTS
from datasets import Dataset

from smolfast import text
from smolfast.dedup import MinHasher


def normalise_and_sign(batch: pa.Table) -> pa.Table:
    column = text.normalize(batch["text"], "NFKC")
    signatures = MinHasher().signatures(column)
    values = pa.FixedSizeListArray.from_arrays(pa.array(signatures.ravel()), signatures.shape[1])
    return pa.table({"text": column, "signature": values})


def main() -> dict[str, float]:
    rows = Dataset.from_dict({"text": DOCUMENTS})
    ours = rows.with_format("arrow").map(normalise_and_sign, batched=True, batch_size=16).with_format("numpy")
    theirs = rows.map(lambda row: {"text": unicodedata.normalize("NFKC", row["text"])})
    signatures = np.stack(ours["signature"][:]).astype(np.uint64)
    return {
        "rows": len(ours),
        "rows that normalisation changed": sum(a != b for a, b in zip(ours["text"], DOCUMENTS, strict=True)),
        "texts that differ from a plain map": sum(a != b for a, b in zip(ours["text"], theirs["text"], strict=True)),
        "signatures that differ from one call": float(
            (signatures != MinHasher().signatures(theirs["text"][:])).any(1).sum()
        ),
        "estimated similarity of equal documents": float((signatures[0] == signatures[1]).mean()),
        "estimated similarity of one word more": float((signatures[0] == signatures[2]).mean()),
    }


if __name__ == "__main__":
    for name, figure in main().items():
        print(f"{name}: {figure:.3g}")
