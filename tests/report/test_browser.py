"""What the page's script makes of it, in a browser where there is one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from smolfast.report import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
def test_the_script_runs_under_the_policy_and_opens_charts_to_keys(
    run_folder: Path, tmp_path: Path, fake: SimpleNamespace
) -> None:
    write_report(run_folder, tmp_path / "report.html")
    before = fake.page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert all("tabindex" not in a for a in before.all("div") if "data-chart" in a)
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    address = (tmp_path / "report.html").as_uri()
    run = [CHROMIUM, *options, "--window-size=390,900", "--dump-dom", address]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, check=True)
    page = fake.page(done.stdout)
    plots = [a for a in page.all("div") if "data-chart" in a]
    assert plots and all(a["tabindex"] == "0" and a["role"] == "group" and a["aria-label"] for a in plots)
    buttons = [a for a in page.all("button") if a["class"] == "copy"]
    assert buttons and all("hidden" not in a for a in buttons)
    assert [a for a in page.all("div") if "wide" in (a.get("class") or "").split()]
