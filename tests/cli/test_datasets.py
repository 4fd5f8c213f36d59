"""The commands `datasets …`, called as a person or a program calls them."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.config import read_card
from tests.data.layout_samples import PACS, write_folders, write_pictures

pytestmark = pytest.mark.usefixtures("data_root")


def called(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """The exit code, standard output and standard error of `datasets ...`."""
    code = main(["datasets", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture
def pacs(tmp_path: Path) -> Path:
    return write_folders(tmp_path / "PACS", read_card("pacs"), PACS)


def test_list_says_what_is_in_place_and_what_gets_the_others(
    capsys: pytest.CaptureFixture[str], pacs: Path
) -> None:
    assert called(capsys, "import", "pacs", pacs)[0] == 0
    code, text, _ = called(capsys, "list")
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert code == 0
    assert set(lines) == {
        "digits",
        "office_home",
        "visda2017",
        "pacs",
        "vlcs",
        "office31",
        "domainnet",
        "elpv",
    }
    assert lines["pacs"].endswith("in place")
    assert lines["digits"].endswith("built here")
    assert "15,588 images" in lines["office_home"]
    assert lines["office_home"].endswith("datasets fetch office_home")
    assert lines["vlcs"].endswith("datasets import vlcs FOLDER")
    rows = {row["name"]: row for row in json.loads(called(capsys, "list", "--json")[1])}
    assert rows["pacs"]["in_place"]
    assert rows["pacs"]["command"] is None
    assert not rows["vlcs"]["in_place"]


def test_show_tells_all_of_a_card(capsys: pytest.CaptureFixture[str], data_root: Path) -> None:
    code, text, _ = called(capsys, "show", "office_home")
    assert code == 0
    for told in (
        "Ar    2,427 images  Art",
        "Mouse as 'computer mouse'",
        "hemanthdv.org",
        "venkateswara2017deep",
        "every image is used for training and for testing",
        f"not in place ({data_root / 'office_home'})",
    ):
        assert told in text
    shown = json.loads(called(capsys, "show", "domainnet", "--json")[1])
    assert shown["split"] == "lists"
    assert shown["domains"]["clp"]["images"] == 48_129
    assert len(shown["words"]) == 345
    assert shown["command"] == "run_benchmark.py datasets fetch domainnet"
    assert "MN    2,000 train,     500 test" in called(capsys, "show", "digits")[1]


def test_import_says_what_it_recognised_and_what_differs(
    capsys: pytest.CaptureFixture[str], pacs: Path
) -> None:
    code, text, said = called(capsys, "import", "pacs", pacs)
    assert code == 0
    assert "recognised a folder for each domain (the layout of DomainBed)" in said
    assert "56 images (P 14, A 14, C 14, S 14), symbolic links" in text
    assert "domain P: 14 images, but the card states 1,670" in text
    assert "Suites run with these images" in text
    assert "in place" in called(capsys, "show", "pacs")[1]
    found = json.loads(called(capsys, "import", "pacs", pacs, "--json")[1])
    assert found["images"]["A"] == 14
    assert found["differences"][0]["expected"] == 1670


def test_verify_finds_what_is_gone(capsys: pytest.CaptureFixture[str], pacs: Path) -> None:
    called(capsys, "import", "pacs", pacs)
    (pacs / "sketch" / "dog" / "00001.jpg").unlink()
    code, text, _ = called(capsys, "verify", "pacs")
    assert code == 1
    assert "S/dog/00001.jpg is missing" in text
    assert "56 images checked: 1 missing or changed, 0 unreadable, 32 counts differ from the card's" in text
    found = json.loads(called(capsys, "verify", "pacs", "--json")[1])
    assert len(found["damaged"]) == 1
    assert found["images"] == 56


def test_verify_finds_truncated_and_empty_images(capsys: pytest.CaptureFixture[str], pacs: Path) -> None:
    """Also if they were so when they were imported."""
    dogs = pacs / "sketch" / "dog"
    (dogs / "00001.jpg").write_bytes(b"")
    (dogs / "00002.jpg").write_bytes((dogs / "00002.jpg").read_bytes()[:-200])
    called(capsys, "import", "pacs", pacs)
    code, text, _ = called(capsys, "verify", "pacs")
    assert code == 1
    for name in ("00001", "00002"):
        assert f"S/dog/{name}.jpg cannot be read: " in text
    assert "56 images checked: 0 missing or changed, 2 unreadable" in text
    assert len(json.loads(called(capsys, "verify", "pacs", "--json")[1])["unreadable"]) == 2


def test_classes_that_a_domain_lacks_are_named(capsys: pytest.CaptureFixture[str], pacs: Path) -> None:
    shutil.rmtree(pacs / "sketch" / "dog")
    for domain in PACS.values():
        shutil.rmtree(pacs / domain / "person")
    lacking = "domain S has no images of dog, which other domains have: as a source it cannot teach them"
    for printed in (called(capsys, "import", "pacs", pacs)[2], called(capsys, "verify", "pacs")[1]):
        assert lacking in printed
        assert "no domain has images of person\n" in printed
        assert "domain P has no" not in printed
    assert len(json.loads(called(capsys, "verify", "pacs", "--json")[1])["absent"]) == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", "ofice_home"], "did you mean 'office_home'"),
        (["verify", "pacs"], "pacs is not in"),
        (["fetch", "digits"], "digits is built here by `prepare`"),
        (["import", "pacs", "/nowhere"], "there is no folder /nowhere"),
        (["fetch", "vlcs"], "no source works without a browser"),
    ],
)
def test_mistakes_are_answered_in_words(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    code, text, said = called(capsys, *arguments)
    assert code == 2
    assert not text
    assert told in said
    assert "Traceback" not in said


def write_card(folder: Path, name: str, text: str) -> None:
    (folder / "datasets").mkdir(exist_ok=True)
    (folder / "datasets" / f"{name}.yaml").write_text(text)


PRIVATE = """\
name: mine
title: Mine
image_size: 32
classes: [dog, cat]
domains: {A: {name: Art, images: 4}, B: {name: Bar, images: 4}}
sources: [{by: our laboratory}]
"""


def test_a_private_set_needs_no_licence_citation_or_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_card(tmp_path, "mine", PRIVATE)
    code, text, _ = called(capsys, "show", "mine")
    assert code == 0
    assert "our laboratory" in text
    assert "licence: none stated" in text
    assert "cite" not in text
    code, _, said = called(capsys, "fetch", "mine")
    assert code == 2
    assert "our laboratory" in said
    code, _, said = called(capsys, "verify", "mine")
    assert code == 2
    assert "datasets import mine FOLDER" in said
    assert "datasets fetch" not in said  # nothing can be fetched


def test_one_broken_card_stops_no_other(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_card(tmp_path, "mine", "name: [")
    write_card(tmp_path, "pacs", PRIVATE.replace("title: Mine\n", ""))
    code, text, said = called(capsys, "list")
    assert code == 0
    assert "digits" in text
    assert "pacs" not in text
    assert "mine.yaml" in said
    assert "pacs.yaml, line 1, title: this field is missing" in said
    assert {row["name"] for row in json.loads(called(capsys, "list", "--json")[1])} >= {"digits", "vlcs"}


def test_new_writes_a_card_to_edit(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for domain, classes in {"Real World": ["Big_Dog", "cat"], "art": ["big dog", "cat", "eel"]}.items():
        for name in classes:
            write_pictures(tmp_path / "photos" / domain / name, ["1.jpg", "2.jpg", "3.jpg"])
    write_pictures(tmp_path / "photos" / "art" / ".thumbnails", ["1.jpg"])
    code, text, said = called(capsys, "new", "mine", tmp_path / "photos")
    assert code == 0
    assert "datasets import mine" in text
    assert "Real World has no images of eel" in said
    card = read_card("mine")
    assert card.classes == ["Big_Dog", "cat", "eel"]
    assert {short: domain.per_class for short, domain in card.domains.items()} == {
        "Real World": [3, 3, 0],
        "art": [3, 3, 3],
    }
    assert called(capsys, "import", "mine", tmp_path / "photos")[0] == 0
    assert called(capsys, "verify", "mine")[0] == 0
    code, _, said = called(capsys, "new", "mine", tmp_path / "photos")
    assert code == 2
    assert "mine.yaml exists already" in said
    for folder, message in {
        "photos/art/cat": "no folders of domains",
        "nowhere": "there is no folder",
    }.items():
        code, _, said = called(capsys, "new", "other", tmp_path / folder)
        assert code == 2
        assert message in said
    assert called(capsys, "new", "../x", tmp_path / "photos")[0] == 2


def test_a_set_that_is_in_place_is_not_fetched_again(capsys: pytest.CaptureFixture[str], pacs: Path) -> None:
    called(capsys, "import", "pacs", pacs)
    code, _, said = called(capsys, "fetch", "pacs")
    assert code == 0
    assert "is in place already; delete" in said
