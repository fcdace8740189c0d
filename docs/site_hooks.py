"""What mkdocs.yml can't say: the pages of the folder of integrations, what commands print, the search's name."""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from smolfast.commands.main import main

_BENCHMARKS = "benchmarks-page.html"


def on_config(config: Any) -> Any:
    """Fill "Integrations" with the pages of its folder, by name; leave it out while there are none."""
    folder = Path(config.docs_dir) / "integrations"
    pages = sorted(folder.glob("*.md"), key=lambda page: (page.stem != "index", page.stem))
    for entry in list(config.nav):
        if "Integrations" in entry:
            entry["Integrations"] = [f"integrations/{page.name}" for page in pages]
            if not pages:
                config.nav.remove(entry)
    return config


def on_files(files: Files, config: Any) -> Files:
    """Draw the benchmarks' page from the committed results."""
    folder = Path(config.docs_dir).parent / "benchmarks"
    with contextlib.redirect_stdout(io.StringIO()):
        main(["bench", "--draw", "--quiet", "--benchmarks", str(folder)])
    files.append(File.generated(config, _BENCHMARKS, abs_src_path=str(folder / "report.html")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put what a command prints in place of `{{ smolfast … }}`; link the benchmarks' page."""
    markdown = markdown.replace("on one page, `report.html`", f"[on one page]({_BENCHMARKS}), `report.html`")
    return re.sub(r"^\{\{ smolfast (.*) \}\}$", lambda line: _printed(line[1].split()), markdown, flags=re.MULTILINE)


def on_page_content(html: str, **_: Any) -> str:
    """Keep an option of a command on one line: broken after a hyphen, it reads as two."""
    return re.sub(r"(?<!<span></span>)<code>[^<]*-[^<]*</code>", _options, html)


def on_post_page(output: str, **_: Any) -> str:
    """Name the search dialog for those who hear the page; the theme leaves it without a name."""
    dialog = 'data-md-component="search" role="dialog"'
    return output.replace(dialog, f'{dialog} aria-label="Search"')


def on_post_template(output_content: str, **_: Any) -> str:
    """The same for the page that says that there is no such page, and what to do there."""
    found = "<h1>404 - Not found</h1>"
    advice = "<p>There is no such page. The menu and the search lead to those that there are.</p>"
    return on_post_page(output_content).replace(found, f"{found}\n{advice}")


def _options(code: re.Match[str]) -> str:
    return re.sub(r"(?<=[\s>])--?\w[\w-]*", r'<span class="option">\g<0></span>', code[0])


def _printed(words: list[str]) -> str:
    os.environ["COLUMNS"], os.environ["NO_COLOR"] = "78", "1"  # what a page is wide
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main(words)
    if not out.getvalue():
        raise PluginError(f"smolfast {' '.join(words)} printed nothing")
    return f"```{'toml' if words == ['config'] else 'text'}\n{out.getvalue().strip()}\n```"
