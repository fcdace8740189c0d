"""Serve the page of a run on this machine alone: the loopback address, a secret in the URL, and nothing is written."""

from __future__ import annotations

import os
from http import HTTPStatus
from pathlib import Path

from smolfast.errors import SmolfastError
from smolfast.processes.loopback import LocalHandler, LocalServer, listen
from smolfast.report.document import is_page
from smolfast.report.recipe.page import recipe_page
from smolfast.report.recipe.run import read_recipe_run


class Server(LocalServer):
    """Serves one run's folder until it is shut down."""

    def __init__(self, folder: Path, token: str, port: int, refresh: int) -> None:
        self.folder, self.refresh = folder, refresh
        super().__init__(token, port, _Handler)


def serve(folder: str | os.PathLike[str], token: str, *, port: int = 0, refresh: int = 2) -> Server:
    """A server of the folder's page; call `serve_forever`.

    Args:
        token: the first part of every path; whoever doesn't know it gets nothing.
        port: 0 for a free one.
        refresh: seconds after which the browser asks again while the run goes on.

    Raises:
        SmolfastError: the port is taken.
    """
    return listen(lambda: Server(Path(folder), token, port, refresh), port)


class _Handler(LocalHandler):
    server: Server

    def do_GET(self) -> None:
        """The page, or another page that the run made."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """As GET, without the page."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        rest = self.allowed_path()
        if rest is None:
            return
        try:
            found = self._page(rest)
        except SmolfastError as error:  # between two files of the run
            found = None, str(error).encode()
        status, body = found
        self.send_response(status or HTTPStatus.SERVICE_UNAVAILABLE)
        self.send_header(
            "Content-Type", "text/html; charset=utf-8" if status == HTTPStatus.OK else "text/plain; charset=utf-8"
        )
        self.send_header("Content-Length", str(len(body)))
        self.send_safety_headers()
        if not rest and (status is None or read_recipe_run(self.server.folder).state == "running"):
            self.send_header("Refresh", str(self.server.refresh))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _page(self, name: str) -> tuple[HTTPStatus | None, bytes]:
        if not name:
            return HTTPStatus.OK, recipe_page(self.server.folder).encode()
        made = {stage.output for stage in read_recipe_run(self.server.folder).stages if stage.output.endswith(".html")}
        path = self.server.folder / name
        if name in made and path.is_file() and is_page(path):
            return HTTPStatus.OK, path.read_bytes()
        return HTTPStatus.NOT_FOUND, b"not found\n"
