"""What workers say reaches the driver, in order, before they end; strangers are not heard."""

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace

import pytest

from pipeline.core.errors import UserError
from pipeline.execution.progress_channel import Address, Inbox, telling
from pipeline.execution.worker import Message

MESSAGES = [Message("begun", "here"), *(Message("progress", "ste\np", done, 50) for done in range(50))]


def tell(address: Address, key: str) -> None:
    with telling(address, key) as say:
        for message in MESSAGES:
            say(message)


def test_all_that_was_said_is_there_when_the_saying_ends() -> None:
    with closing(Inbox("127.0.0.1")) as inbox:
        tell(inbox.address, "a")
        assert list(inbox.take()) == [("a", message) for message in MESSAGES]
        assert list(inbox.take()) == []


def test_each_of_several_is_heard_in_its_order() -> None:
    with closing(Inbox("127.0.0.1")) as inbox, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: tell(inbox.address, key), "abcdefgh"))
        heard = list(inbox.take())
    for key in "abcdefgh":
        assert [message for of, message in heard if of == key] == MESSAGES


def test_who_does_not_know_the_secret_is_not_heard() -> None:
    with closing(Inbox("127.0.0.1")) as inbox:
        with suppress(OSError):  # how soon it is hung up on, the network decides
            tell(replace(inbox.address, secret="guessed"), "a")
        with socket.create_connection((inbox.address.host, inbox.address.port)) as silent:
            tell(inbox.address, "b")  # who says nothing keeps nobody waiting
            silent.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert silent.recv(100) == b""
        assert {key for key, _ in inbox.take()} == {"b"}


def test_a_driver_that_can_not_be_reached_is_named() -> None:
    with closing(Inbox("127.0.0.1")) as inbox:
        address = inbox.address
    with pytest.raises(UserError, match=rf"can't reach the driver at 127.0.0.1:{address.port}"):
        tell(address, "a")
