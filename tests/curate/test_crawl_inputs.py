"""Which inputs are a crawl, told from documents by their names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from smolfast import SmolfastError
from smolfast.curate.files.crawls import find_crawls, holds_crawls
from smolfast.io import find_sources
from smolfast.machine import install_command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.warc.gz", "a.warc", "sub/c.WARC.ZST", "sub/d.warc.wet.gz", ".hidden.warc", "notes.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def names(found: object, folder: Path) -> list[str]:
    return sorted(Path(source.path).relative_to(folder).as_posix() for source in found)  # type: ignore[attr-defined]


def test_files_of_folders_and_patterns_are_found_by_name(folder: Path) -> None:
    expected = ["a.warc", "b.warc.gz", "sub/c.WARC.ZST", "sub/d.warc.wet.gz"]
    found = find_crawls([folder])
    assert names(found, folder) == expected
    assert {Path(other.path).name: other.reason for other in found.passed_over} == {
        ".hidden.warc": "hidden",
        "notes.log": "of an unknown kind",
    }
    assert names(find_crawls([f"{folder}/*"]), folder) == expected[:2]
    assert names(find_crawls([folder / "a.warc", folder]), folder) == expected
    assert names(find_crawls([folder / "notes.log"]), folder) == ["notes.log"]  # named
    for given, message in (([], "no input"), ([folder / "none"], "can't read"), ([folder / "*.x"], "holds no file")):
        with pytest.raises(SmolfastError, match=message):
            find_crawls(given)


def test_crawls_are_told_from_documents(folder: Path) -> None:
    assert holds_crawls([folder], folder / "out")
    assert holds_crawls([folder / "a.warc"], folder / "out")
    assert not holds_crawls([folder / "notes.log"], folder / "out")
    assert not holds_crawls([folder / "none"], folder / "out")
    (folder / "README.md").write_text("about them")
    (folder / "out").mkdir()
    (folder / "out" / "part.jsonl").write_text('{"text": "x"}\n')
    assert holds_crawls([folder], folder / "out")  # as an earlier run left it
    (folder / "x.jsonl").write_text('{"text": "x"}\n')
    assert not holds_crawls([folder / "x.jsonl"], folder / "out")
    for crawl in (folder / "sub", folder / "a.warc"):
        with pytest.raises(SmolfastError, match="holds documents, and other input is a crawl"):
            holds_crawls([crawl, folder / "x.jsonl"], folder / "out")
    with pytest.raises(SmolfastError, match="holds documents, and other input is a crawl"):
        holds_crawls([folder], folder / "out")


def test_other_commands_name_the_one_that_reads_crawls(folder: Path) -> None:
    with pytest.raises(
        SmolfastError, match=r"is a crawl; make documents of it first: smolfast curate .*a\.warc -o DIR"
    ):
        find_sources([folder / "a.warc"])
    (folder / "x.jsonl").write_text('{"text": "x"}\n')
    passed = {Path(other.path).name: other.reason for other in find_sources([folder]).passed_over}
    assert passed["a.warc"] == "of a crawl, which smolfast curate reads"


def test_without_the_extra_the_error_names_it(folder: Path) -> None:
    code = (
        "import sys; sys.modules['fastwarc'] = None\n"
        "from importlib import util; find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'fastwarc' else find(name, *rest)\n"
        "from smolfast.commands.main import main\n"
        f"sys.exit(main(['curate', {str(folder / 'a.warc')!r}, '-o', {str(folder / 'out')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"install them with: {install_command('web')}\n" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_options_for_crawls_are_refused_for_documents(folder: Path) -> None:
    from smolfast.commands.main import main

    (folder / "x.jsonl").write_text('{"text": "x"}\n')
    for options in (["--dedup"], ["--extract", "trafilatura"], ["--keep-addresses"], ["--url-list", "x"]):
        assert main(["curate", str(folder / "x.jsonl"), "-o", str(folder / "out"), *options]) == 2
    for options in (["--text-column", "body"], ["--errors", "skip"], ["--prefix", "x"], ["--column-type", "a=bool"]):
        if "smolfast.crawl" in sys.modules or __import__("importlib.util").util.find_spec("fastwarc"):
            assert main(["curate", str(folder / "a.warc"), "-o", str(folder / "out"), *options]) == 2
