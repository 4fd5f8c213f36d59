"""Manifests of artifacts and records of imports: read, or refused in a sentence that names the file."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import config
from pipeline.config import FolderCard
from pipeline.core.errors import UserError
from pipeline.core.store import MANIFEST, Damage, Store
from pipeline.data.sources.inventory import read_import_record, read_inventory
from tests.readers.refusals import damaged, damaged_bytes, hostile_contents, quickly, read_or_refuse

KEY = "0123456789abcdef"
TEXT = b"some numbers"
WHOLE = {
    "files": {"numbers.txt": [hashlib.sha256(TEXT).hexdigest(), len(TEXT), 1]},
    "seconds": 1.5,
    "label": "a job",
    "params": {"seed": 0},
    "inputs": {"images": "0123"},
    "made_with": {"python": "3.11"},
}


def artifact(root: Path, content: bytes) -> tuple[Store, Path]:
    """A store with one artifact of the kind `train`, and its manifest."""
    store = Store(root)
    folder = store.path("train", KEY)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "numbers.txt").write_bytes(TEXT)
    (folder / MANIFEST).write_bytes(content)
    return store, folder / MANIFEST


def check(root: Path, content: bytes) -> Any:
    store, path = artifact(root, content)
    for thorough in (False, True):
        found = store.damage("train", KEY, thorough=thorough)
        assert found is None or isinstance(found, Damage)
        assert found is None or len(str(found)) < 300
    return read_or_refuse(lambda: store.manifest("train", KEY), path)


@hostile_contents
def test_what_is_no_manifest_is_damage(tmp_path: Path, content: bytes) -> None:
    assert check(tmp_path, content) is None
    assert Store(tmp_path).damage("train", KEY) is not None


@given(value=damaged(WHOLE))
@quickly
def test_manifests_with_other_values(tmp_path: Path, value: Any) -> None:
    check(tmp_path, json.dumps(value).encode())


@given(content=damaged_bytes(json.dumps(WHOLE).encode()))
@quickly
def test_manifests_with_other_bytes(tmp_path: Path, content: bytes) -> None:
    check(tmp_path, content)


RECORD = {
    "layout": "folders",
    "folder": "/data/PACS",
    "how": "symbolic links",
    "images": {"P": 1, "A": 1, "C": 1, "S": 1},
    "notes": ["one image was left out"],
    "content": "0" * 16,
}
TABLE = "domain,label,split,name,bytes\nP,0,2,dog/1.jpg,100\nA,0,2,dog/1.jpg,100\n"


@pytest.fixture
def card(data_root: Path) -> FolderCard:
    (data_root / "pacs").mkdir(parents=True)
    card = config.read_card("pacs")
    assert isinstance(card, FolderCard)
    return card


def check_import(card: FolderCard, record: bytes, table: bytes) -> None:
    folder = config.data_folder("pacs")
    (folder / "dataset.json").write_bytes(record)
    (folder / "index.csv").write_bytes(table)
    for read in (config.resolve_card, config.absent_domains, read_import_record):
        read_or_refuse(lambda read=read: read(card), folder / "dataset.json")
    read_or_refuse(lambda: read_inventory(card), folder, named=str(folder))


@hostile_contents
def test_what_is_no_record_of_an_import_is_refused(card: FolderCard, content: bytes) -> None:
    check_import(card, content, content)
    with pytest.raises(UserError):
        read_inventory(card)


@given(value=damaged(RECORD), table=damaged_bytes(TABLE.encode()))
@quickly
def test_records_of_imports_with_other_values(card: FolderCard, value: Any, table: bytes) -> None:
    if isinstance(value, dict):  # else only the hash is compared
        value = value | {"content": hashlib.sha256(table).hexdigest()[:16]}
    check_import(card, json.dumps(value).encode(), table)


@given(content=st.one_of(damaged_bytes(json.dumps(RECORD).encode())))
@quickly
def test_records_of_imports_with_other_bytes(card: FolderCard, content: bytes) -> None:
    check_import(card, content, TABLE.encode())
