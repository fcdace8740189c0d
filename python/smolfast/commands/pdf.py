"""`smolfast pdf IN… -o OUT`: the text of PDF files, in reading order, as documents; and `pdf show FILE --page N`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolfast.commands.options import add_engine, add_strict, add_threads, as_words, engine_of
from smolfast.commands.parsers import add_common, add_output, at_least, command
from smolfast.errors import SmolfastError
from smolfast.progress import Console, describe_end

_FORMS = """\
  smolfast pdf show FILE --page N -o page.html

It has its own --help. A file or folder called show is ./show."""


def add_pdf(commands: Any) -> None:
    """The parsers of `smolfast pdf` and `pdf show`."""
    parser = command(commands, "pdf", _run, after=_after)
    parser.epilog = f"further commands:\n\n{_FORMS}"
    parser.set_defaults(goes_on=True, extra="pdf")
    parser.add_argument(
        "input",
        nargs="*",
        metavar="IN",
        help="PDF files, folders of them, addresses, files of a crawl (WARC), or of parquet with a column of PDFs",
    )
    add_output(parser, "folder for kept, removed and pdf.json")
    parser.add_argument("--bytes-column", metavar="NAME", help="column of PDFs (default: the only one of bytes)")
    parser.add_argument(
        "--language-model", type=Path, metavar="FILE", help="fastText's, or lid.176: tells each page's language"
    )
    parser.add_argument(
        "--extractor",
        default="smolfast",
        metavar="NAME",
        help="smolfast, pypdfium2, pdf-oxide, docling-parse, or MODULE:FUNCTION from bytes to pages "
        "(default: smolfast)",
    )
    parser.add_argument(
        "--ocr",
        default="none",
        metavar="NAME",
        help="reads pages that are pictures: none, rapidocr, tesseract or tesseract:deu+eng (default: none)",
    )
    parser.add_argument("--ocr-figures", action="store_true", help="let it read the pictures on other pages too")
    parser.add_argument(
        "--boxes", action="store_true", help="add a column of the blocks of text, with their places on the page"
    )
    _add_fetching(parser.add_argument_group("where files are fetched"))
    parser.add_argument(
        "--page-seconds",
        type=float,
        default=60.0,
        metavar="S",
        help="CPU time after which a page is left (default: 60)",
    )
    parser.add_argument(
        "--document-seconds",
        type=float,
        default=3600.0,
        metavar="S",
        help="CPU time after which the rest of a document is left (default: 3600)",
    )
    parser.add_argument(
        "--memory", type=at_least(256), default=2048, metavar="MIB", help="of each worker at most (default: 2048)"
    )
    add_strict(parser)
    add_threads(parser)
    add_engine(parser)

    of_show = parser.add_verb("show", "Draw a page with the blocks found on it, numbered in reading order.")
    of_show.set_defaults(extra="pdf")
    of_show.add_argument("file", type=Path, metavar="FILE", help="a PDF file")
    of_show.add_argument("--page", type=at_least(1), default=1, metavar="N", help="from 1 (default: 1)")
    of_show.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the page to write, as HTML")
    of_show.add_argument("--ocr", default="none", metavar="NAME", help="reads it if it is a picture (default: none)")
    add_common(of_show, _show)


def _add_fetching(group: Any) -> None:
    group.add_argument("--urls", type=Path, metavar="FILE", help="addresses to fetch, one a line")
    group.add_argument(
        "--refetch", action="store_true", help="fetch again what is cut, where the crawl or the row names its address"
    )
    group.add_argument(
        "--fetch-parallel", type=at_least(1), default=8, metavar="N", help="hosts asked at a time (default: 8)"
    )
    group.add_argument("--fetch-tries", type=at_least(1), default=3, metavar="N", help="for each address (default: 3)")
    group.add_argument(
        "--fetch-seconds", type=float, default=600.0, metavar="S", help="of a try, with redirects (default: 600)"
    )
    group.add_argument("--fetch-size", type=at_least(1), default=256, metavar="MIB", help="at most (default: 256)")
    group.add_argument(
        "--host-seconds",
        type=float,
        default=1.0,
        metavar="S",
        help="between two requests to a host, if robots.txt asks for no more (default: 1)",
    )
    group.add_argument("--user-agent", metavar="NAME", help="what hosts are told (default: smolfast and its version)")
    group.add_argument(
        "--allow-private-addresses", action="store_true", help="fetch from this machine and its own network too"
    )


def _run(arguments: argparse.Namespace) -> Mapping[str, Any]:
    from smolfast.pdf import Limits, extract_pdfs
    from smolfast.pdf.files.given import read_addresses

    if not arguments.input and arguments.urls is None:
        raise SmolfastError("no input given; name at least one file or folder, or a list of addresses with --urls")
    limits = Limits(
        parallel=arguments.fetch_parallel,
        tries=arguments.fetch_tries,
        total_seconds=arguments.fetch_seconds,
        most_bytes=arguments.fetch_size << 20,
        host_seconds=arguments.host_seconds,
        allow_private=arguments.allow_private_addresses,
        **({} if arguments.user_agent is None else {"agent": arguments.user_agent}),
    )
    console = Console(quiet=arguments.quiet)
    with console.watch("pdf") as watch:
        summary = extract_pdfs(
            arguments.input,
            arguments.output,
            urls=[] if arguments.urls is None else read_addresses(arguments.urls),
            refetch=arguments.refetch,
            fetching=limits,
            language_model=arguments.language_model,
            bytes_column=arguments.bytes_column,
            extractor=arguments.extractor,
            ocr=arguments.ocr,
            ocr_figures=arguments.ocr_figures,
            boxes=arguments.boxes,
            document_seconds=arguments.document_seconds,
            page_seconds=arguments.page_seconds,
            memory=arguments.memory << 20,
            strict=arguments.strict,
            threads=arguments.threads,
            engine=engine_of(arguments),
            overwrite=arguments.overwrite,
            progress=watch,
        )
    said = summary.as_dict()
    if (seconds := watch.seconds) is None:
        console.line(f"{'pdf':<11} unchanged, skipped; {arguments.output} holds the result")
    else:
        rate = summary.pages / max(seconds, 1e-3)
        console.line(f"{'pdf':<11} {describe_end(said, seconds)}; {summary.pages:,} pages, {rate:,.0f} pages/s")
    if summary.needs_ocr_pages:
        one = summary.needs_ocr_pages == 1
        what = "1 page is a picture" if one else f"{summary.needs_ocr_pages:,} pages are pictures"
        console.line(f"{what}; --ocr rapidocr reads {'it' if one else 'them'}")
    return said


def _after(arguments: argparse.Namespace, result: Mapping[str, Any]) -> list[str]:
    if not result["documents_out"]:
        return []
    # Rules for web pages would remove nearly all of it (docs/pdf.md).
    return [as_words("smolfast", "dedup", arguments.output / "kept", "-o", "unique")]


def _show(arguments: argparse.Namespace) -> Mapping[str, Any] | None:
    from smolfast.pdf.readers.ocr import recognizer
    from smolfast.pdf.show import show_page
    from smolfast.report.document import save_page
    from smolfast.report.pdf_page import ShownBlock, pdf_page
    from smolfast.report.section import counted

    shown = show_page(arguments.file, arguments.page, recognizer(arguments.ocr))
    blocks = []
    for place, (block, text) in enumerate(zip(shown.blocks, shown.texts, strict=True)):
        kind = "running" if place in shown.running else "heading" if text.startswith("#") else block.kind
        blocks.append(ShownBlock(kind, block.box, block.size, text.lstrip("# ") if kind == "heading" else text))
    facts = [
        ("size", f"{shown.width:g} × {shown.height:g} points"),
        (
            "text from",
            {"text": "the file", "ocr": "a picture of the page"}.get(shown.route.where, "nowhere: it is blank"),
        ),
        ("why", shown.route.why or "–"),
        ("OCR's confidence", "–" if shown.confidence is None else f"{shown.confidence:.0%}"),
    ]
    name = f"{arguments.file.name}, page {shown.number}"
    subtitle = f"{shown.number} of {counted(shown.pages, 'page')}; {counted(len(blocks), 'block')} in reading order"
    save_page(arguments.output, pdf_page(name, subtitle, shown.png, shown.width, shown.height, blocks, facts))
    said = {
        "file": shown.path,
        "page": shown.number,
        "pages": shown.pages,
        "blocks": len(blocks),
        "text_from": shown.route.where,
        "output": str(arguments.output),
    }
    if arguments.json:
        return said
    Console(quiet=arguments.quiet).line(f"{arguments.output}: {subtitle}")
    return None
