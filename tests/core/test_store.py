"""An artifact in the store is whole or absent, and changed files are found."""

import json
import os
from pathlib import Path

import pytest

from pipeline.core.errors import UserError, describe_os_error
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


def test_a_store_that_turns_read_only_is_a_users_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a run has begun: an artifact is put aside, or the reason of a failure is kept."""

    def locked(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "rename", locked)
    monkeypatch.setattr(os, "replace", locked)
    monkeypatch.setattr(Path, "unlink", locked)
    for write in (
        lambda: store.discard("train", "k"),
        lambda: store.note_failure("train", "k", "it failed"),
        lambda: store.note_failure("train", "k", None),
    ):
        with pytest.raises(UserError, match=r"the store .*/store can't be written: Read-only.*--store"):
            write()


def test_a_reason_that_is_no_file_is_refused(store: Store) -> None:
    path = store.root / "work" / "train" / "k" / "scratch" / "failed"
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(UserError, match=r"scratch/failed cannot be read"):
        store.failure("train", "k")


@pytest.mark.parametrize("field", ["seconds", "files"])
def test_a_manifest_without_a_field_is_damage_and_refused(store: Store, field: str) -> None:
    path = store.path("train", "k") / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest[field]
    path.write_text(json.dumps(manifest))
    assert str(store.damage("train", "k")) == "manifest.json is missing or can't be read"
    with pytest.raises(UserError, match=rf"manifest.json cannot be read \({field} is missing.*delete the"):
        store.manifest("train", "k")


@pytest.mark.parametrize("content", ["{", "3", "[3]", '{"a": 1}', '[{"a": 1, "b": 2}, {"a": 1}]'])
def test_records_that_are_damaged_are_refused(store: Store, content: str) -> None:
    path = store.path("train", "k") / "records.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"train/k/records.json cannot be read .*; delete the folder"):
        store.records("train", "k", "records.json", ["a", "b"])


def test_records_are_one_object_or_a_list(store: Store) -> None:
    path = store.path("train", "k") / "records.json"
    for content in ('{"a": 1}', '[{"a": 1}]'):
        path.write_text(content)
        assert store.records("train", "k", "records.json", ["a"]) == [{"a": 1}]


def test_a_folder_that_takes_no_file_is_a_sentence() -> None:
    with pytest.raises(PermissionError) as caught:
        write_atomic(Path("/proc/x.csv"), "text")
    assert "/proc/x.csv: no file can be made here; " in str(describe_os_error(caught.value))
