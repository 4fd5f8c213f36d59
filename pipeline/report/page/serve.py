"""Serve a results folder to a browser on this machine."""

import os
import sys
import webbrowser
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipeline.core.errors import UserError

HOST = "127.0.0.1"


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without logging each request."""

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
        return ThreadingHTTPServer((HOST, port), partial(QuietHandler, directory=str(folder)))
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
