"""A study's pages on this machine: loopback only, and nothing but the files of that one folder."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ablate.errors import MachineError

ADDRESS: Final = "127.0.0.1"
KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".md": "text/plain; charset=utf-8",
    ".tex": "text/plain; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".yaml": "text/plain; charset=utf-8",
}
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# The pages' own policy stands in them and is narrower; a picture that is opened alone runs nothing.
_POLICY: Final = "frame-ancestors 'none'"
_POLICY_OF_REST: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of files below `folder`, the path / being `index`."""

    timeout = 20
    server_version, sys_version = "ablate", ""
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, folder: Path, index: str, **kwargs: Any) -> None:
        self.folder, self.index = folder, index
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        port = self.server.server_address[1]
        # A page elsewhere can point its own name at this address (DNS rebinding): then it asks for that.
        if self.headers.get_all("Host") not in ([f"{ADDRESS}:{port}"], [f"localhost:{port}"]):
            return self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
        found = self._file(unquote(urlsplit(self.path).path))
        if found is None:
            return self._refuse(HTTPStatus.NOT_FOUND)
        path, content = found
        page = path.suffix == ".html"
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", KINDS[path.suffix])
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", _POLICY if page else _POLICY_OF_REST)
        self._end(content if with_body else b"")
        return None

    def _file(self, asked: str) -> tuple[Path, bytes] | None:
        """The file and its content; None for what is not there, leads out of the folder, or is of no kind."""
        parts = [part for part in asked.split("/") if part] or [self.index]
        if any(part.startswith(".") or "\\" in part or "\0" in part for part in parts):
            return None
        path = self.folder.joinpath(*parts)
        try:
            whole = path.resolve(strict=True)
            if path.suffix not in KINDS or not whole.is_relative_to(self.folder.resolve()):
                return None
            return path, whole.read_bytes()
        except (OSError, ValueError):
            return None

    def _refuse(self, status: HTTPStatus) -> None:
        content = f"{status.value} {status.phrase}\n".encode()
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self._end(content if self.command != "HEAD" else b"")

    def _end(self, content: bytes) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal shows the address, and requests are no news."""


def make_server(folder: Path, *, index: str = "look.html", port: int = 0) -> ThreadingHTTPServer:
    """A server for the files of `folder`, bound but not yet running. port: 0 for a free one.

    Raises MachineError for a port that cannot be had.
    """
    try:
        return _Server((ADDRESS, port), partial(_Handler, folder=folder, index=index))
    except OSError as error:
        taken = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror})"
        raise MachineError(f"port {port} {taken}\n    name another with --port, or leave it out") from error


def serve(folder: Path, *, port: int = 0, say: Callable[[str], None] = print) -> None:
    """Serve until Ctrl-C. say: told the address."""
    with make_server(folder, port=port) as server:
        say(f"http://{ADDRESS}:{server.server_address[1]}/ shows it on this machine only; Ctrl-C ends")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:  # the way out, and no fault
            return
