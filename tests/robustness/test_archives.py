"""Archives from a fuzzer: unpacked whole, or refused in a sentence; nothing is ever written outside."""

import gzip
import io
import shutil
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from pipeline.core.errors import UserError
from pipeline.data.sources.archive import unpack
from tests.data.sources.archive_samples import everything_below, tar_member, zip_member
from tests.robustness.attacks import Attacks, sizes

NAMES = [
    "a.jpg",
    "dog/1.jpg",
    "dog/1.jpg",
    "dog",
    "dog/",
    "dog/1.jpg/2.jpg",
    "DOG/1.jpg",
    "../evil",
    "a/../../evil",
    "a/./b//c.jpg",
    "/tmp/evil",
    "..",
    ".",
    "",
    "/",
    "a\\..\\..\\evil",
    "C:evil",
    "nul\0byte",
    "x" * 255,
    "x" * 300,
    "x/" * 2500 + "x",
    "\udcff\udcfe.jpg",
    "\n\x1b[2J.jpg",
    "部屋.jpg",
    "manifest.json",
    ".hidden",
    "-rf",
]
"""Names of members, good and bad."""

Member = tuple[str, bytes, bytes, str]
"""Name, tar type, content and link target of a member."""


def members(chance: Random) -> list[Member]:
    """Draw the members of an archive: most are files, some of bad names, links or devices."""
    found = []
    for number in range(chance.randint(0, 6)):
        name = chance.choice(NAMES) if chance.random() < 0.6 else f"cat/{number}.jpg"
        kind = tarfile.REGTYPE
        if chance.random() < 0.15:
            kind = chance.choice(
                [
                    tarfile.SYMTYPE,
                    tarfile.LNKTYPE,
                    tarfile.CHRTYPE,
                    tarfile.BLKTYPE,
                    tarfile.FIFOTYPE,
                    b"7",
                    b"V",
                ]
            )
        elif name.endswith("/") or chance.random() < 0.1:
            kind = tarfile.DIRTYPE
        content = (
            chance.randbytes(chance.choice([0, 1, 511, 512, 513, 5000])) if kind == tarfile.REGTYPE else b""
        )
        found.append((name, kind, content, chance.choice(["../../evil", "/etc/passwd", "a.jpg", "cat", ""])))
    if chance.random() < 0.03:  # many empty members
        found += [(f"empty/{number}", tarfile.REGTYPE, b"", "") for number in range(20_000)]
    return found


def as_tar(drawn: list[Member], chance: Random) -> bytes:
    """A tar of the members in one of the three formats; names that a format cannot hold are left out."""
    file = io.BytesIO()
    form = chance.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, kind, content, target in drawn:
            try:
                member = tar_member(name, kind, target, len(content))
                tar.addfile(member, io.BytesIO(content))
            except ValueError:
                continue
    return file.getvalue()


def as_zip(drawn: list[Member], chance: Random) -> bytes:
    """A zip of the members, stored or deflated."""
    file, method = io.BytesIO(), chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
    modes = {tarfile.SYMTYPE: stat.S_IFLNK, tarfile.CHRTYPE: stat.S_IFCHR, tarfile.DIRTYPE: stat.S_IFDIR}
    with zipfile.ZipFile(file, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that are there twice
        for name, kind, content, target in drawn:
            if "\udcff" not in name and len(name) < 2**16:
                archive.writestr(zip_member(name, modes.get(kind, 0)), content or target.encode(), method)
    return file.getvalue()


def rewritten_headers(content: bytes, chance: Random) -> bytes:
    """A tar in whose headers numbers are replaced, negative ones among them, under right checksums."""
    changed = bytearray(content)
    for at in range(0, len(content) - 511, 512):
        if content[at + 257 : at + 262] == b"ustar" and chance.random() < 0.5:
            place, width = chance.choice([(124, 12), (136, 12), (100, 8), (329, 8), (156, 1)])
            number = chance.choice([-1, -512, -(2**60), 2**62, 0, 7])
            base256 = number.to_bytes(width + 8, "big", signed=True)[-width:]
            changed[at + place : at + place + width] = chance.choice([base256, b"9" * width, bytes(width)])
            changed[at + 148 : at + 156] = b" " * 8
            changed[at + 148 : at + 156] = b"%06o\0 " % sum(changed[at : at + 512])
    return bytes(changed)


def flipped(content: bytes, chance: Random) -> bytes:
    """Other bytes at some places, often near the end, where a zip has its directory."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        span = min(len(changed), chance.choice([200, len(changed)]))
        if span:
            changed[-chance.randint(1, span)] = chance.randrange(256)
    return bytes(changed)


def cut(content: bytes, chance: Random) -> bytes:
    """The beginning of an archive."""
    return content[: chance.randint(0, len(content))]


def padded(content: bytes, chance: Random) -> bytes:
    """Something before an archive, or after it, such as a second one."""
    more = chance.choice([bytes(512), chance.randbytes(600), content])
    return more + content if chance.random() < 0.5 else content + more


CHANGES: list[Callable[[bytes, Random], bytes]] = [
    lambda content, chance: content,
    rewritten_headers,
    flipped,
    cut,
    padded,
]


def archive(chance: Random) -> bytes:
    """Draw an archive."""
    drawn = members(chance)
    content = chance.choice([as_tar, as_zip])(drawn, chance)
    content = chance.choice(CHANGES)(content, chance)
    if chance.random() < 0.3:
        content = chance.choice(CHANGES)(gzip.compress(content), chance)
    return content


def files_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of the files in an archive, as the standard library reads them."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as zipped:
            for each in zipped.infolist():
                if not each.is_dir():
                    yield each.filename, zipped.read(each)
    else:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.isfile():
                    yield member.name, tar.extractfile(member).read()


def unpacked(place: Path) -> str | None:
    """Unpack an archive; return the sentence that refuses it."""
    try:
        unpack(place / "archive", place / "folder")
    except UserError as error:
        return str(error)
    return None


@sizes(short=60, long=500)
def test_archives_are_unpacked_whole_or_refused(attacks: Attacks, tmp_path: Path, count: int) -> None:
    place = tmp_path / "deep" / "er"

    def attempt(chance: Random) -> None:
        shutil.rmtree(tmp_path / "deep", ignore_errors=True)
        place.mkdir(parents=True)
        (place / "archive").write_bytes(archive(chance))
        told = unpacked(place)
        if told is not None:
            assert f"{place}/archive" in told
            sentence = told.replace(str(place), "")
            assert sentence.isprintable(), sentence
            assert len(sentence) < 600, sentence[:2000]
            if "nothing was unpacked" in sentence:
                assert everything_below(place / "folder") == set()
        else:
            files = [(str(Path(name)), content) for name, content in files_of(place / "archive")]
            written = [path for path in (place / "folder").rglob("*") if not path.is_dir()]
            assert all(path.is_file() and not path.is_symlink() for path in written)
            found = {str(path.relative_to(place / "folder")): path.read_bytes() for path in written}
            assert found == dict(files)
            assert len(files) == len(found), "a member overwrote another"
        assert {path.name for path in place.iterdir()} <= {"archive", "folder"}
        assert {path.name for path in place.parent.iterdir()} == {"er"}
        assert not Path("/tmp/evil").exists()

    attacks("archives", count, attempt, seconds=20)
