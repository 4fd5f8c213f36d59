"""Hostile images: each is read or found faulty, in time; an import takes no pipes, devices or dead links."""

import os
import stat
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from pipeline.config import read_card
from pipeline.core.errors import UserError
from pipeline.data.image_files import read_resized
from pipeline.data.image_validation import fault, quiet_decoding
from pipeline.data.open_image import FORMATS, open_image
from pipeline.data.sources.importer import import_folder
from pipeline.data.sources.inventory import read_inventory
from tests.data.layout_samples import PACS, write_folders
from tests.robustness.attacks import Attacks, sizes

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def drawn(chance: Random) -> bytes:
    """Draw a picture of any of the formats and modes that are read."""
    form, mode = chance.choice(FORMATS), chance.choice(["RGB", "L", "P", "1", "RGBA", "CMYK", "I;16", "F"])
    width, height = chance.randint(1, 40), chance.randint(1, 40)
    pixels = np.frombuffer(chance.randbytes(3 * width * height), np.uint8).reshape(height, width, 3)
    image, file = Image.fromarray(pixels), BytesIO()
    try:
        (image.convert("L").convert(mode) if mode in ("I;16", "F") else image.convert(mode)).save(file, form)
    except (OSError, ValueError):  # the format does not have the mode
        file = BytesIO()
        image.save(file, form)
    return file.getvalue()


def flipped(content: bytes, chance: Random) -> bytes:
    """Other bytes at some places, often in the header."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 10)):
        changed[chance.randrange(min(len(changed), chance.choice([60, len(changed)])))] = chance.randrange(
            256
        )
    return bytes(changed)


def bomb(content: bytes, chance: Random) -> bytes:
    """A PNG of few bytes that claims many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    sides = [chance.choice([1, 20_000, 60_000, 2**31 - 1]) for _ in range(2)]
    header = struct.pack(">IIBBBBB", *sides, 8, chance.choice([0, 2, 3, 6]), 0, 0, chance.choice([0, 1]))
    data = zlib.compress(bytes(10**6))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


CHANGES: list[Callable[[bytes, Random], bytes]] = [
    lambda content, chance: content,
    lambda content, chance: content[: chance.randint(0, len(content))],
    flipped,
    flipped,
    bomb,
    lambda content, chance: EPS,
    lambda content, chance: content + chance.randbytes(100),
    lambda content, chance: chance.randbytes(200),
]


def refusal(path: Path) -> str | None:
    """Open an image as the command line does; return the sentence that refuses it."""
    try:
        open_image(path)
    except UserError as error:
        return str(error)
    return None


@sizes(short=60, long=500)
def test_images_are_read_or_found_faulty(
    attacks: Attacks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("Ghostscript was started"))

    def attempt(chance: Random) -> None:
        path = tmp_path / f"photo{chance.choice(['.jpg', '.png', '.tif', ''])}"
        path.write_bytes(chance.choice(CHANGES)(drawn(chance), chance))
        with quiet_decoding():
            reason, told = fault(str(path)), refusal(path)
            assert told is None or str(path) in told
            if reason is None:
                assert read_resized(str(path), 8).shape == (8, 8, 3)
            else:
                assert str(tmp_path) not in reason
                assert len(reason) < 300, reason
                assert len(reason.splitlines()) == 1

    attacks("images", count, attempt, seconds=20)


def pipe(path: Path, outside: Path) -> None:
    """A named pipe, which nobody writes to."""
    os.mkfifo(path)


def device(path: Path, outside: Path) -> None:
    """A device that never ends; whoever may make none tries a link to it."""
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        path.symlink_to("/dev/zero")


def link(target: str) -> Callable[[Path, Path], None]:
    """A link to something that is no image."""
    return lambda path, outside: path.symlink_to(target)


def folder(path: Path, outside: Path) -> None:
    """A folder called like an image."""
    path.mkdir()


IRREGULAR: list[Callable[[Path, Path], None]] = [
    pipe,
    device,
    link("/dev/zero"),
    link("/dev/stdin"),
    link("nowhere"),
    link("loop.jpg"),
    link("/etc"),
    folder,
]


@sizes(short=4, long=40)
def test_an_import_takes_regular_files_alone(
    attacks: Attacks, tmp_path: Path, data_root: Path, count: int
) -> None:
    card = read_card("pacs")

    def attempt(chance: Random) -> None:
        root = write_folders(tmp_path / f"{chance.random()}", card, PACS, 1)
        before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(data_root)}
        for number in range(chance.randint(1, 6)):
            domain, name = chance.choice(list(PACS.values())), chance.choice(card.classes)
            path = root / domain / name / f"{number:05d}-hostile.jpg"
            chance.choice(IRREGULAR)(path, tmp_path)
            before.add(path)
        said: list[str] = []
        import_folder(card, root, said.append)
        table = read_inventory(card)
        assert len(table) == 4 * 7
        assert not table["name"].str.contains("hostile").any()
        after = {path for path in tmp_path.rglob("*") if not path.is_relative_to(data_root)}
        assert after == before

    attacks("imports of irregular files", count, attempt, seconds=60)
