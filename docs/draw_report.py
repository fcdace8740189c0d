"""Draws `docs/pictures/report.svg`: the top of a report page as a browser shows it, light and dark.

python docs/draw_report.py RUN    # RUN: the folder of a finished quickstart; needs Chromium on the path

Both screenshots lie in one SVG, since Markdown's images know no colour scheme and an SVG's style does. A browser loads
nothing for an image, so they are inside and not linked.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import subprocess
import tempfile
from pathlib import Path

from smolfast.report import write_report

PICTURE = Path(__file__).resolve().parent / "pictures" / "report.svg"
MOST_BYTES = 400_000
_WIDTH, _HEIGHT = 640, 1082
_SCHEMES = {"dark": 0, "light": 1}  # as Blink counts them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("draw_report: no Chromium on the path; install chromium")
    images = []
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        write_report(run, page)
        for scheme, number in _SCHEMES.items():
            shot = Path(folder) / f"{scheme}.png"
            options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
            options += [f"--user-data-dir={folder}/profile", f"--blink-settings=preferredColorScheme={number}"]
            options += [f"--window-size={_WIDTH},{_HEIGHT}", f"--screenshot={shot}"]
            subprocess.run([browser, *options, page.as_uri()], check=True, capture_output=True)
            data = base64.b64encode(shot.read_bytes()).decode()
            images.append(
                f'<image class="{scheme}" width="{_WIDTH}" height="{_HEIGHT}" href="data:image/png;base64,{data}"/>'
            )
    drawn = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'role="img" aria-labelledby="title desc"><title id="title">A report page</title>'
        '<desc id="desc">The top of a report page: the result in bits per byte, what is good about the run and what '
        "isn't, and bars beside compressors</desc>"
        "<style>.dark{display:none}@media(prefers-color-scheme:dark){.dark{display:inline}.light{display:none}}</style>"
        f"{''.join(images)}</svg>\n"
    )
    if len(drawn) > MOST_BYTES:
        raise SystemExit(f"draw_report: {len(drawn):,} bytes; make it smaller than {MOST_BYTES:,}")
    PICTURE.write_text(drawn, "utf-8")
    print(f"{PICTURE}: {len(drawn):,} bytes")


if __name__ == "__main__":
    main()
