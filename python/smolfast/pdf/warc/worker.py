"""A worker process that looks for PDFs in stretches of a crawl."""

from __future__ import annotations

from typing import Any

from smolfast.pdf.tasks import DEATHS
from smolfast.processes.serving import Serving, run


def serve(serving: Serving) -> None:
    """Read stretches one after the other."""
    from smolfast.crawl.reading.faults import Fault, Place
    from smolfast.crawl.reading.members import Members
    from smolfast.crawl.reading.records import Reached, find_first, read_records
    from smolfast.crawl.stretches import stretch_of
    from smolfast.io.sources import open_source
    from smolfast.pdf.warc.records import pdf_of

    serving.ready()
    while (task := serving.next()) is not None:
        stretch = stretch_of(task[0])
        items: list[dict[str, Any]] = []
        others, end = 0, None

        def found(place: Place, body: bytes = b"", *, to: Any = items, **said: Any) -> None:
            to.append({"place": place, **said})
            serving.frame(body)

        with open_source(stretch.path) as file:
            members = Members(file)
            start = stretch.start or find_first(members, stretch.search, stretch.stop)
            for item in read_records(members, start, stretch.stop) if start is not None else ():
                if isinstance(item, Reached):
                    end = item.place
                elif isinstance(item, Fault):
                    found(item.place, reason=item.reason)
                elif item.place in stretch.lost:
                    found(item.place, reason=DEATHS[stretch.lost[item.place].removeprefix("!")])
                else:
                    serving.at(*item.place)
                    try:
                        held = pdf_of(item)
                    except Exception:  # costs this record alone
                        found(item.place, reason="broken WARC header")
                        continue
                    if held is None:
                        others += 1
                        continue
                    said = {name: value for name, value in vars(held).items() if name != "body"}
                    found(item.place, held.body, **said)
        serving.done({"start": start, "end": end, "others": others, "items": items})


if __name__ == "__main__":
    run(serve)
