"""Untrusted archives: those that leave the folder or expand without end are refused before any write."""

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.data.sources import archive as archive_module
from pipeline.data.sources.archive import unpack
from tests.data.sources.archive_samples import GOOD, everything_below, tar_member, tar_of, zip_member, zip_of


@pytest.mark.parametrize(
    "content",
    [
        tar_of(),
        tar_of(compress=gzip.compress),
        tar_of(compress=bz2.compress),
        tar_of(compress=lzma.compress),
        zip_of(),
    ],
    ids=["tar", "tar.gz", "tar.bz2", "tar.xz", "zip"],
)
def test_archives_are_unpacked_whatever_they_are_called(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "archive").write_bytes(content)
    unpack(tmp_path / "archive", tmp_path / "folder")
    for name, expected in GOOD.items():
        assert (tmp_path / "folder" / name).read_bytes() == expected


def negative_tar() -> bytes:
    """A tar whose second member states a size below 0, in the base-256 numbers of GNU tar."""
    content = bytearray(tar_of(tar_member("negative")))
    at = content.index(b"negative")
    content[at + 124 : at + 136] = (-1024).to_bytes(12, "big", signed=True)
    content[at + 148 : at + 156] = b" " * 8
    content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
    return bytes(content)


def many_empty_files() -> bytes:
    """A tar of 200,000 empty files, which packs to almost nothing."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as tar:
        for number in range(200_000):
            tar.addfile(tar_member(f"{number}.jpg"))
    return file.getvalue()


OUT = [
    "../evil",
    "a/../../evil",
    "/tmp/evil",
    "..",
    "a\\..\\..\\evil",
    "C:\\evil",
    "C:evil",
    "\\\\host\\share\\evil",
]
REFUSED = {
    **{f"tar {name}": (tar_of(tar_member(name)), "leads out of the folder") for name in OUT},
    **{f"zip {name}": (zip_of(zip_member(name)), "leads out of the folder") for name in OUT},
    "tar symlink out": (tar_of(tar_member("a", tarfile.SYMTYPE, "../../etc")), "is a link"),
    "tar symlink, then a file in it": (
        tar_of(tar_member("a", tarfile.SYMTYPE, "/tmp"), tar_member("a/evil")),
        "is a link",
    ),
    "tar hard link": (tar_of(tar_member("a", tarfile.LNKTYPE, "/etc/passwd")), "is a link"),
    "tar device": (tar_of(tar_member("a", tarfile.CHRTYPE)), "neither a file nor a folder"),
    "tar pipe": (tar_of(tar_member("a", tarfile.FIFOTYPE)), "neither a file nor a folder"),
    "tar negative size": (negative_tar(), "has a negative size"),
    "zip symlink": (zip_of(zip_member("a", stat.S_IFLNK | 0o777), content=b"/etc"), "is a link"),
    "zip device": (zip_of(zip_member("a", stat.S_IFBLK | 0o777)), "neither a file nor a folder"),
    **{
        f"{kind} {what}": (make(*map(member, names)), told)
        for kind, make, member in (("tar", tar_of, tar_member), ("zip", zip_of, zip_member))
        for what, names, told in (
            ("name twice", ["a/1.jpg", "a/1.jpg"], "'a/1.jpg' is there twice; unpack it yourself"),
            ("name twice, spelt otherwise", ["a/1.jpg", "./a//1.jpg"], "is there twice"),
            ("file as folder", ["a", "a/1.jpg"], "'a/1.jpg' is a file and a folder at once"),
            ("folder as file", ["a/1.jpg", "a"], "'a' is a file and a folder at once"),
            ("the folder itself as file", ["."], "'.' is a file and a folder at once"),
            ("no name", [""], "'' is a file and a folder at once"),
            ("long name", ["x" * 300], "has a name that is too long"),
            ("long path", ["/".join(["x" * 200] * 30)], "has a name that is too long"),
        )
    },
    "tar of 200,000 empty files": (many_empty_files(), "more than 10,000 files and folders"),
    "tar bomb": (tar_of(tar_member("a", size=80 * 2**20), compress=gzip.compress), "decompression bomb"),
    "zip bomb": (zip_of(zip_member("a"), content=bytes(80 * 2**20)), "decompression bomb"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_archives_are_refused_and_nothing_is_written(tmp_path: Path, what: str) -> None:
    content, told = REFUSED[what]
    archive = tmp_path / "deep" / "archive"
    archive.parent.mkdir()
    archive.write_bytes(content)
    with pytest.raises(UserError, match=f"is refused: .*{told}.*nothing was unpacked"):
        unpack(archive, tmp_path / "deep" / "folder")
    assert everything_below(tmp_path) == {"deep", "deep/archive", "deep/folder"}
    assert not Path("/tmp/evil").exists()


def test_a_tar_that_describes_a_member_without_end_is_not_read_into_memory(tmp_path: Path) -> None:
    """A bomb in a header, which tarfile reads at once: here a name of 300 MB."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 300 * 2**20
    with gzip.open(tmp_path / "archive", "wb") as file:
        file.write(
            header.tobuf(tarfile.GNU_FORMAT) + bytes(2**20)
        )  # it is refused before it is found to be short
    with pytest.raises(UserError, match="the header of a member claims 314,572,800 bytes"):
        unpack(tmp_path / "archive", tmp_path / "folder")


def test_an_archive_may_grow_as_images_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "ALWAYS_ALLOWED", 0)
    for content, grows in ((os.urandom(10_000), False), (bytes(10_000_000), True)):
        file = tmp_path / "archive"
        file.write_bytes(zip_of(zip_member("a.jpg"), content=content))
        if grows:
            with pytest.raises(UserError, match="decompression bomb"):
                unpack(file, tmp_path / "folder")
        else:
            unpack(file, tmp_path / "folder")


@pytest.mark.parametrize(
    "content", [tar_of(compress=gzip.compress), tar_of(), zip_of()], ids=["gz", "tar", "zip"]
)
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_archives_that_are_cut_off_are_named(tmp_path: Path, content: bytes, kept: float) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(content[: int(kept * len(content.rstrip(b"\0")))])
    with pytest.raises(UserError, match=r"cannot be unpacked .*truncated or not an archive; get it again"):
        unpack(archive, tmp_path / "folder")


def test_garbled_and_encrypted_archives_are_named(tmp_path: Path) -> None:
    good = zip_of()
    with zipfile.ZipFile(tmp_path / "garbled", "w") as archive:
        archive.writestr("a.jpg", b"one")
    (tmp_path / "garbled").write_bytes((tmp_path / "garbled").read_bytes().replace(b"one", b"two"))
    with pytest.raises(UserError, match=r"cannot be unpacked .*CRC"):
        unpack(tmp_path / "garbled", tmp_path / "folder")
    locked = bytearray(good)
    locked[good.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked").write_bytes(bytes(locked))
    with pytest.raises(UserError, match="is encrypted"):
        unpack(tmp_path / "locked", tmp_path / "folder")


def test_a_zip_whose_members_begin_before_the_file_is_named(tmp_path: Path) -> None:
    content = bytearray(zip_of())
    place = slice(content.rindex(b"PK\5\6") + 16, content.rindex(b"PK\5\6") + 20)  # where the list begins
    content[place] = (int.from_bytes(content[place], "little") + 1000).to_bytes(4, "little")
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be unpacked .*truncated or not an archive; get it again"):
        unpack(tmp_path / "archive", tmp_path / "folder")


def test_too_little_room_is_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 100})())
    (tmp_path / "archive").write_bytes(zip_of())
    with pytest.raises(UserError, match=r"needs 3,003 bytes in .*, which has 100 left"):
        unpack(tmp_path / "archive", tmp_path / "folder")


def test_names_that_differ_in_case_are_refused_only_where_they_are_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "archive").write_bytes(zip_of(zip_member("A/1.jpg"), zip_member("a/1.JPG")))
    unpack(tmp_path / "archive", tmp_path / "folder")
    assert {"A/1.jpg", "a/1.JPG"} <= everything_below(tmp_path / "folder")
    monkeypatch.setattr(archive_module, "_ignores_case", lambda folder: True)
    with pytest.raises(UserError, match=r"'a/1.JPG' is there twice"):
        unpack(tmp_path / "archive", tmp_path / "other")


def test_folders_may_be_listed_before_their_files_after_them_and_twice(tmp_path: Path) -> None:
    folder = tar_member("a/", tarfile.DIRTYPE)
    (tmp_path / "archive").write_bytes(tar_of(folder, tar_member("a/1.jpg"), folder))
    unpack(tmp_path / "archive", tmp_path / "folder")
    assert (tmp_path / "folder" / "a" / "1.jpg").is_file()
