"""What workers on other machines say, through a socket of the driver's own.

Not through Ray: it lends out the cores of a task that waits for Ray, so that more jobs would be under way than there
are cores. Each job has a connection; what is said are lines of JSON, the first of which is the inbox's secret.
"""

import json
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from queue import SimpleQueue
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

from pipeline.core.errors import UserError
from pipeline.execution.worker import Message

CONNECT = 30.0
"""Seconds in which the driver has to answer."""

ALL_HEARD = b"heard\n"


@dataclass(frozen=True)
class Address:
    """Where an inbox is, and what is said to be let in."""

    host: str
    port: int
    secret: str


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class Inbox:
    """Open until `close`. Messages wait in it until they are taken."""

    def __init__(self, host: str) -> None:
        self._said: SimpleQueue[tuple[str, Message]] = SimpleQueue()
        secret, said = secrets.token_hex(16), self._said

        class Connection(StreamRequestHandler):
            def handle(self) -> None:
                if not secrets.compare_digest(self.rfile.readline(100).strip(), secret.encode()):
                    return
                for line in self.rfile:
                    if line.strip():
                        key, message = json.loads(line)
                        said.put((key, Message(**message)))
                    else:
                        self.wfile.write(ALL_HEARD)

        self._server = _Server((host, 0), Connection)
        self.address = Address(host, self._server.server_address[1], secret)
        Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self) -> Iterator[tuple[str, Message]]:
        """All that has been said since, in the order in which it came: (a job's key, what is said of it)."""
        for _ in range(self._said.qsize()):
            yield self._said.get()

    def close(self) -> None:
        """Hear no more."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def telling(address: Address, key: str) -> Iterator[Callable[[Message], None]]:
    """Yields what says a message of the job `key`; at the end everything said has been heard.

    UserError if the driver can't be reached.
    """
    try:
        connection = socket.create_connection((address.host, address.port), CONNECT)
    except OSError as error:
        raise UserError(
            f"{socket.gethostname()} can't reach the driver at {address.host}:{address.port} ({error}); "
            "the nodes of a cluster need to reach each other at any port, as Ray itself does"
        ) from error
    connection.settimeout(None)
    with connection, connection.makefile("rwb") as lines:
        lines.write(f"{address.secret}\n".encode())

        def say(message: Message) -> None:
            lines.write(json.dumps([key, asdict(message)]).encode() + b"\n")
            lines.flush()

        yield say
        lines.write(b"\n")
        lines.flush()
        lines.readline()
