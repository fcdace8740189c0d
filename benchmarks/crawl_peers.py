"""datatrove from WARC to kept parquet; runs in datatrove's environment, where smolfast isn't.

    PEER/python benchmarks/crawl_peers.py CRAWL.warc.gz OUT --extract trafilatura|resiliparse

FineWeb's filters in their order, without language, which needs a model. Prints seconds by stage as JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


def pipeline(source: Path, output: Path, extract: str) -> list[Any]:
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.extractors.base import BaseExtractor
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.pipeline.readers import WarcReader
    from datatrove.pipeline.writers import ParquetWriter

    class Resiliparse(BaseExtractor):
        name = "Resiliparse"

        def __init__(self) -> None:
            super().__init__(60)

        def extract(self, text: str) -> str:
            from resiliparse.extract.html2text import extract_plain_text

            return extract_plain_text(text, main_content=True, alt_texts=False, list_bullets=False, comments=False)

    return [
        WarcReader(str(source.parent), glob_pattern=source.name),
        Trafilatura(favour_precision=True, timeout=60) if extract == "trafilatura" else Resiliparse(),
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
        PIIFormatter(),
        ParquetWriter(str(output)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--extract", choices=("trafilatura", "resiliparse"), required=True)
    options = parser.parse_args()
    from datatrove.utils.logging import logger

    logger.remove()
    steps = pipeline(options.source.absolute(), options.output.absolute(), options.extract)
    began = time.perf_counter()
    data: Any = None
    for step in steps:
        data = step(data, 0, 1) if data is not None else step(None, 0, 1)
    documents = sum(1 for _ in data)
    wall = time.perf_counter() - began
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    said = {
        "wall": wall,
        "cpu": sum(one.ru_utime + one.ru_stime for one in used),
        "kept": documents,
        "stages": {step.name: step.stats.time_stats.total for step in steps},
    }
    print(json.dumps(said), file=sys.stdout)


if __name__ == "__main__":
    main()
