"""An artifact in the store is whole or absent, and changed files are found."""

import os
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.core.store import Store, write_atomic


@pytest.fixture
def store(tmp_path: Path) -> Store:
    one = Store(tmp_path / "store")
    work = one.workspace("train", "k")
    write_atomic(work / "a" / "x.bin", b"12345")
    write_atomic(work / "scratch" / "state", b"0")
    one.commit("train", "k", {"seconds": 1.5})
    return one


def test_commit_keeps_the_product_and_drops_scratch(store: Store) -> None:
    folder = store.path("train", "k")
    assert sorted(p.name for p in folder.rglob("*") if p.is_file()) == ["manifest.json", "x.bin"]
    assert store.manifest("train", "k")["seconds"] == 1.5
    assert store.damage("train", "k", thorough=True) is None


def change(path: Path) -> None:
    path.write_bytes(b"12346")


def cut(path: Path) -> None:
    path.write_bytes(b"123")


@pytest.mark.parametrize(
    ("harm", "told"),
    [(change, "was changed"), (cut, "3 bytes instead of 5"), (os.unlink, "is missing")],
)
def test_harm_is_found_and_named(store: Store, harm: object, told: str) -> None:
    harm(store.path("train", "k") / "a" / "x.bin")
    damage = store.damage("train", "k")
    assert damage.file == "a/x.bin"
    assert told in str(damage)


def test_a_byte_changed_behind_an_unchanged_date_is_found_by_a_thorough_check(store: Store) -> None:
    path = store.path("train", "k") / "a" / "x.bin"
    times = path.stat()
    change(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert store.damage("train", "k") is None
    assert "was changed" in str(store.damage("train", "k", thorough=True))


def test_a_file_that_does_not_belong_and_a_missing_manifest_are_found(store: Store) -> None:
    extra = store.path("train", "k") / "extra"
    extra.write_text("")
    assert "does not belong" in str(store.damage("train", "k"))
    extra.unlink()
    (store.path("train", "k") / "manifest.json").write_text('{"files": ')
    assert "can't be read" in str(store.damage("train", "k"))


def test_discarded_it_is_gone(store: Store) -> None:
    store.discard("train", "k")
    assert not store.has("train", "k")


def test_a_workspace_survives_without_half_written_files(store: Store) -> None:
    work = store.workspace("train", "j")
    write_atomic(work / "whole", "1")
    (work / ".half.123.part").write_text("")
    assert [p.name for p in store.workspace("train", "j").iterdir()] == ["whole"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    write_atomic(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_store_that_cannot_be_written_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        Store(tmp_path / "file").workspace("train", "k")


def test_a_pipe_in_place_of_a_lock_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "locks").mkdir()
    os.mkfifo(tmp_path / "locks" / "train-0123")
    with pytest.raises(UserError, match="not a regular file"), store.lock("train", "0123"):
        pytest.fail("the lock was taken")
