"""The PDFs of a crawl's files, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import xxhash

from smolfast.crawl.files.ranges import open_file, results_in_order
from smolfast.crawl.reading.faults import Place
from smolfast.crawl.stretch import Stretch
from smolfast.io.sources import Source, document_id
from smolfast.pdf.input import Pdf
from smolfast.pdf.warc.scans import Scan, ScanJob
from smolfast.processes.pool import Pool


def read_crawl(source: Source, pool: Pool[Stretch, Scan], ahead: int, others: Counter[str]) -> Iterator[Pdf]:
    """The PDFs of a file; what can't be read in it comes with a reason.

    Args:
        pool: of workers with a `ScanJob`.
        ahead: stretches that are asked for before they are wanted.
        others: its `records` grows by the records that hold no PDF.
    """
    for _, _, scan in results_in_order([open_file(source)], 0, Place(0), pool, ahead):
        others["records"] += scan.others
        for item in scan.items:
            yield Pdf(
                item.id or f"{document_id(source.path)}@{item.place}",
                source.path,
                len(item.content),
                xxhash.xxh3_128_hexdigest(item.content) if item.content else "",
                item.content,
                url=item.url or None,
                date=item.date or None,
                truncated=item.truncated,
                reason=item.reason,
            )


def scanning(workers: int) -> Pool[Stretch, Scan]:
    """Workers that look for PDFs."""
    return Pool(workers, ScanJob())
