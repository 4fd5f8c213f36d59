"""Lists of images: read, or refused in a sentence that names the list."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import FolderCard, read_card
from pipeline.data.sources.image_lists import recognise_lists
from tests.data.layout_samples import PACS, write_folders
from tests.readers.refusals import damaged_bytes, hostile_contents, quickly, read_or_refuse

DOMAINS = list(PACS.values())


@pytest.fixture(scope="module")
def card() -> FolderCard:
    card = read_card("pacs")
    assert isinstance(card, FolderCard)
    return card


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, card: FolderCard) -> Path:
    """PACS with an image of each class and a list of each domain."""
    root = write_folders(tmp_path_factory.mktemp("lists"), card, PACS, 1)
    for domain in DOMAINS:
        (root / f"{domain}.txt").write_bytes(whole(domain))
    return root


def whole(domain: str) -> bytes:
    names = ["dog", "elephant", "giraffe", "guitar", "horse", "house", "person"]
    return "".join(f"{domain}/{name}/00001.jpg {number}\n" for number, name in enumerate(names)).encode()


def check(card: FolderCard, folder: Path, content: bytes) -> None:
    path = folder / "photo.txt"
    path.write_bytes(content)
    read_or_refuse(lambda: recognise_lists(card, folder), path)


@hostile_contents
def test_what_is_no_list(card: FolderCard, folder: Path, content: bytes) -> None:
    check(card, folder, content)


@given(content=damaged_bytes(whole("photo")))
@quickly
def test_lists_with_other_bytes(card: FolderCard, folder: Path, content: bytes) -> None:
    check(card, folder, content)


labels = st.one_of(
    st.integers().map(str),
    st.sampled_from(["0.0", "nan", "1e400", "9" * 5000, "dog", "DOG", "-1", "٣", "", "0x1", "1.5"]),
    st.text(max_size=6),
)
paths = st.one_of(
    st.sampled_from(
        [
            "photo/dog/00001.jpg",
            "photo/horse/00001.jpg",
            "../photo/dog/00001.jpg",
            "/etc/passwd",
            "../" * 300 + "x",
            "x" * 5000,
            "x/" * 2000,
            "\0",
            "photo/dog/\0.jpg",
            "sketch/dog/00001.jpg",
            "~",
            ".",
        ]
    ),
    st.text(max_size=20),
)


@given(lines=st.lists(st.tuples(paths, st.sampled_from([" ", "\t", ",", ""]), labels), max_size=6))
@quickly
def test_lists_with_other_lines(card: FolderCard, folder: Path, lines: list[tuple[str, str, str]]) -> None:
    check(card, folder, "\n".join(map("".join, lines)).encode(errors="surrogatepass"))
