"""Serve a results folder to a browser on this machine."""

import io
import os
import sys
import webbrowser
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

from pipeline.core.errors import UserError

HOST = "127.0.0.1"

TIMEOUT = 30
"""Seconds that a connection may be silent, so that idle ones do not pile up."""


class FolderHandler(SimpleHTTPRequestHandler):
    """Serves the regular files of one folder to this machine, without logging each request.

    A request has to name this machine as its host: a page of another site, whose name was made to point here,
    does not. Links that lead out of the folder, pipes and devices are not served, and folders are not listed.
    """

    timeout = TIMEOUT

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Send the head of the answer, and return the file to send, if there is one."""
        if not self._is_for_this_machine():
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "Ask for 127.0.0.1 or localhost")
            return None
        path = Path(self.translate_path(self.path))
        file = path / "index.html" if path.is_dir() else path
        try:
            found = file.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # none, a loop of links, a name with NUL
            found = None
        if found is None or not found.is_file() or not found.is_relative_to(Path(self.directory).resolve()):
            self.send_error(HTTPStatus.NOT_FOUND, "No such file")
            return None
        return super().send_head()

    def _is_for_this_machine(self) -> bool:
        assert isinstance(self.server, ThreadingHTTPServer)
        port = self.server.server_port
        names = self.headers.get_all("Host", [])
        return len(names) == 1 and names[0].lower() in (f"{HOST}:{port}", f"localhost:{port}")

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """Return a server of the files in `folder` that only this machine can reach.

    Args:
        folder: The folder.
        port: The port; 0 takes any that is free.

    Raises:
        UserError: The port cannot be taken.
    """
    try:
        return ThreadingHTTPServer((HOST, port), partial(FolderHandler, directory=str(folder)))
    except OSError as error:
        raise UserError(f"port {port} can't be taken ({error.strerror}); name another with --port") from error


def serve(folder: Path, port: int, say: Callable[[str], None] = print) -> None:
    """Serve `folder` until Ctrl-C, and open it in a browser if there is a display."""
    with server(folder, port) as running:
        url = f"http://{HOST}:{running.server_port}/"
        say(f"{folder} is at {url} (Ctrl-C ends it)")
        if sys.platform == "darwin" or os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
            webbrowser.open(url)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            say("")
