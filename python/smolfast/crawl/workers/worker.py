"""A worker process: reads stretches that it is told of on standard input, and gives rows on standard output."""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
from typing import Any, BinaryIO

from smolfast.crawl.workers.protocol import BEACON, FRAME


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to end
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a library prints must not get among the messages
    setup = json.loads(source.readline())
    sys.path[:] = setup["path"]
    try:
        _limit_memory(setup["memory"])
        serve(setup, source, sink)
    except BrokenPipeError:  # who asked is gone
        os._exit(0)
    except Exception as error:
        from smolfast.errors import SmolfastError

        said = str(error) if isinstance(error, SmolfastError) else f"{type(error).__name__}: {error}"
        _send(sink, b"E", json.dumps({"error": said, "ours": isinstance(error, SmolfastError)}).encode())


def serve(setup: dict[str, Any], source: BinaryIO, sink: BinaryIO) -> None:
    """Read stretches one after the other."""
    import pyarrow as pa

    from smolfast.crawl.extraction.extractors import load_extractor
    from smolfast.crawl.reading.faults import Place
    from smolfast.crawl.stretch import Found, Reader, Stretch
    from smolfast.crawl.urls import read_url_filter

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    beacon = mmap.mmap(setup["beacon"], BEACON.size)
    met = 0

    def at(place: Place) -> None:
        nonlocal met
        met += 1
        beacon[:] = BEACON.pack(*place, met)
        # Work ends a page, not the clock: the second is for functions that sleep.
        signal.setitimer(signal.ITIMER_PROF, setup["cpu_seconds"])
        signal.setitimer(signal.ITIMER_REAL, setup["wall_seconds"])

    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    name = setup["extract"]
    urls = read_url_filter(**setup["urls"])
    reader = Reader(load_extractor(name), urls, at, takes_trees=name == "resiliparse")
    _send(sink, b"R", b"")
    while line := source.readline():
        asked = json.loads(line)
        stretch = Stretch(
            os.fsdecode(bytes.fromhex(asked["path"])),
            asked["name"],
            asked["search"],
            asked["stop"],
            None if asked["start"] is None else Place(*asked["start"]),
            {Place(*place): how for place, how in asked["lost"]},
        )
        met, found = 0, Found()
        beacon[:] = BEACON.pack(-1, -1, 0)
        for batch in reader.read(stretch, found):
            stream = pa.BufferOutputStream()
            with pa.ipc.new_stream(stream, batch.schema) as writer:
                writer.write_batch(batch)
            _send(sink, b"B", stream.getvalue())
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)
        said = {
            "start": found.start,
            "end": found.end,
            "records": found.records,
            "html_bytes": found.html_bytes,
            "not_pages": found.not_pages,
            "seconds": found.seconds,
        }
        _send(sink, b"D", json.dumps(said).encode())


def _send(sink: BinaryIO, kind: bytes, content: Any) -> None:
    content = memoryview(content)
    sink.write(FRAME.pack(kind, content.nbytes))
    sink.write(content)
    sink.flush()


def _limit_memory(size: int) -> None:
    """A page that would take all of the machine's memory ends its worker instead."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (size if hard < 0 else min(size, hard), hard))


if __name__ == "__main__":
    main()
