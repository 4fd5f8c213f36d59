"""Archives of good and bad members."""

import io
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

GOOD = {"Art/Bed/1.jpg": b"one", "Art/a name with 'quotes' and 部屋.jpg": b"two" * 1000}


def tar_of(*members: tarfile.TarInfo, compress: Callable[[bytes], bytes] = bytes) -> bytes:
    """A tar of GOOD and then `members`."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in GOOD.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in members:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return compress(file.getvalue())


def zip_of(*members: zipfile.ZipInfo, content: bytes = b"x") -> bytes:
    """A zip of GOOD and then `members`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that are there twice
        for name, good in GOOD.items():
            archive.writestr(name, good)
        for member in members:
            archive.writestr(member, content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, target, size
    return member


def zip_member(name: str, mode: int = 0) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo("placeholder")
    member.filename = member.orig_filename = name
    member.external_attr = mode << 16
    return member


def everything_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
