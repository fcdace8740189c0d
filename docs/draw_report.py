"""Takes `docs/pictures/report.png`, the top of a report page in a browser.

python docs/draw_report.py RUN    # RUN: the folder of a finished quickstart; needs Chromium on the path
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from smolfast.report import write_report

PICTURE = Path(__file__).resolve().parent / "pictures" / "report.png"
MOST_BYTES = 150_000
_WIDTH, _HEIGHT = 960, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("draw_report: no Chromium on the path; install chromium")
    with tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder) / "report.html", Path(folder) / "report.png"
        write_report(run, page)
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder}/profile",
        ]
        size = f"--window-size={_WIDTH},{_HEIGHT}"
        subprocess.run(
            [browser, *options, size, f"--screenshot={picture}", page.as_uri()], check=True, capture_output=True
        )
        if picture.stat().st_size > MOST_BYTES:
            raise SystemExit(f"draw_report: {picture.stat().st_size:,} bytes; make it smaller than {MOST_BYTES:,}")
        shutil.copy(picture, PICTURE)
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
