"""Ray Data: normalise, simplify and sign documents in `map_batches`, Arrow tables in and out.

The same rows as from Python's own unicodedata in `map`, and the signatures of one call over all rows.
"""

import os
import unicodedata

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a notice of Ray's about accelerators

import numpy as np
import pyarrow as pa
import ray
from _documents import DOCUMENTS

from smolfast import text
from smolfast.dedup import MinHasher


def normalise_and_sign(batch: pa.Table) -> pa.Table:
    column = text.normalize(batch["text"], "NFKC", threads=1)  # Ray runs one task for each core
    signatures = MinHasher().signatures(column, threads=1)
    values = pa.FixedSizeListArray.from_arrays(pa.array(signatures.ravel()), signatures.shape[1])
    return batch.set_column(batch.column_names.index("text"), "text", column).append_column("signature", values)


def main() -> dict[str, float]:
    ray.init(num_cpus=1, include_dashboard=False, configure_logging=False, log_to_driver=False)
    try:
        rows = ray.data.from_items([{"id": i, "text": document} for i, document in enumerate(DOCUMENTS)])
        ours = rows.map_batches(normalise_and_sign, batch_format="pyarrow", batch_size=16).take_all()
        theirs = rows.map(lambda row: {**row, "text": unicodedata.normalize("NFKC", row["text"])}).take_all()
    finally:
        ray.shutdown()
    ours.sort(key=lambda row: row["id"])
    theirs.sort(key=lambda row: row["id"])
    signatures = np.array([row["signature"] for row in ours], np.uint64)
    return {
        "rows": len(ours),
        "rows that normalisation changed": sum(a["text"] != b for a, b in zip(ours, DOCUMENTS, strict=True)),
        "texts that differ from Ray's map": sum(a["text"] != b["text"] for a, b in zip(ours, theirs, strict=True)),
        "signatures that differ from one call": float(
            (signatures != MinHasher().signatures([row["text"] for row in theirs])).any(1).sum()
        ),
        "estimated similarity of equal documents": float((signatures[0] == signatures[1]).mean()),
        "estimated similarity of one word more": float((signatures[0] == signatures[2]).mean()),
    }


if __name__ == "__main__":
    for name, figure in main().items():
        print(f"{name}: {figure:.3g}")
