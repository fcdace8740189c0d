"""A worker process of a crawl: reads stretches and gives rows."""

from __future__ import annotations

from smolfast.processes.serving import Serving, run


def serve(serving: Serving) -> None:
    """Read stretches one after the other."""
    import pyarrow as pa

    from smolfast.crawl.extraction.extractors import load_extractor
    from smolfast.crawl.stretch import Found, Reader
    from smolfast.crawl.stretches import stretch_of
    from smolfast.crawl.urls import read_url_filter

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    name = serving.setup["extract"]
    urls = read_url_filter(**serving.setup["urls"])
    reader = Reader(load_extractor(name), urls, lambda place: serving.at(*place), takes_trees=name == "resiliparse")
    serving.ready()
    while (task := serving.next()) is not None:
        stretch = stretch_of(task[0])
        found = Found()
        for batch in reader.read(stretch, found):
            stream = pa.BufferOutputStream()
            with pa.ipc.new_stream(stream, batch.schema) as writer:
                writer.write_batch(batch)
            serving.frame(stream.getvalue())
        serving.done(
            {
                "start": found.start,
                "end": found.end,
                "records": found.records,
                "html_bytes": found.html_bytes,
                "not_pages": found.not_pages,
                "seconds": found.seconds,
            }
        )


if __name__ == "__main__":
    run(serve)
