"""Image lists as they circulate: numbered in several orders, with several separators, paths and labels."""

import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from pipeline.config import FolderCard, read_card
from pipeline.core.errors import UserError
from pipeline.data.sources.importer import import_folder
from pipeline.data.sources.inventory import read_inventory
from tests.data.layout_samples import OFFICE_HOME, PACS, write_folders, write_pictures

pytestmark = pytest.mark.usefixtures("data_root")


def imported(name: str, folder: Path) -> tuple[pd.DataFrame, str]:
    """What is in place after an import, and what was logged."""
    log: list[str] = []
    card = read_card(name)
    assert isinstance(card, FolderCard)
    import_folder(card, folder, log.append)
    return read_inventory(card), "\n".join(log)


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def pacs_lists(root: Path, line: str) -> Path:
    """PACS with one image per class, and lists of lines in the form `line`."""
    card = read_card("pacs")
    write_folders(root, card, PACS, 1)
    for domain in PACS.values():
        lines = [
            line.format(domain=domain, name=name, number=number) for number, name in enumerate(card.classes)
        ]
        write_lines(root / "lists" / f"{domain}.txt", lines)
    return root


@pytest.mark.parametrize(
    "line",
    [
        "{domain}/{name}/00001.jpg\t{number}",
        "{domain}/{name}/00001.jpg,{number}",
        "{domain}/{name}/00001.jpg, {number}",
        '"{domain}/{name}/00001.jpg","{number}"',
        "{domain}/{name}/00001.jpg {number}.0",
        "{domain}/{name}/00001.jpg {name}",
        "{domain}/{name}/00001.jpg\t{name}",
        "../{domain}/{name}/00001.jpg {number}",
        "../../data/PACS/{domain}/{name}/00001.jpg {number}",
        "x/../{domain}/{name}/00001.jpg {number}",
    ],
)
def test_every_common_form_of_a_line_is_read(tmp_path: Path, line: str) -> None:
    table, log = imported("pacs", pacs_lists(tmp_path / "p", line))
    assert "lists/photo.txt = P" in log
    assert Counter(zip(table["domain"], table["label"], strict=True)) == {
        (domain, label): 1 for domain in PACS for label in range(7)
    }
    assert all(
        name.split("/")[0] == read_card("pacs").classes[row] for name, row in table[["name", "label"]].values
    )


def test_a_path_may_contain_spaces_and_commas(tmp_path: Path) -> None:
    root = pacs_lists(tmp_path / "p", "{domain}/{name}/00001.jpg {number}")
    write_pictures(root / "photo" / "dog", ["a, 1 b.jpg"])
    write_lines(root / "lists" / "photo.txt", ["photo/dog/a, 1 b.jpg 0"])
    table, _ = imported("pacs", root)
    assert table[table["domain"] == "P"]["name"].tolist() == ["dog/a, 1 b.jpg"]


def test_lists_may_number_classes_in_different_orders_if_folders_are_classes(tmp_path: Path) -> None:
    """As of Office-Home's lists only some start with Drill."""
    card = read_card("office_home")
    small = card.model_copy(update={"classes": ["Drill", "Bed", "TV"]})
    root = write_folders(tmp_path / "oh", small, OFFICE_HOME)
    for folder in OFFICE_HOME.values():
        order = ["Bed", "Drill", "TV"] if folder == "Clipart" else small.classes
        lines = [
            f"/data1/u/{folder}/{name}/0000{n}.jpg {order.index(name)}" for name in order for n in (1, 2)
        ]
        write_lines(root / "image_list" / f"{folder.replace(' ', '')}.txt", lines)
    table, log = imported("office_home", root)
    assert Counter(zip(table["domain"], table["label"], strict=True)) == {
        (domain, card.classes.index(name)): 2 for domain in card.domains for name in small.classes
    }
    assert "Art.txt and Clipart.txt number the classes in different orders: the folders" in log


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["photo/dog/00001.jpg house"], "line 1: the line says house, but the image's folder is dog"),
        (
            ["photo/house/00001.jpg 0", "photo/misc/1.jpg 1"],
            "line 2: class 1 is unknown: the list numbers classes in another order",
        ),
    ],
)
def test_a_class_that_cannot_be_told_is_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    root = pacs_lists(tmp_path / "p", "{domain}/{name}/00001.jpg {number}")
    write_pictures(root / "photo" / "misc", ["1.jpg"])
    write_lines(root / "lists" / "photo.txt", lines)
    with pytest.raises(UserError, match=message):
        imported("pacs", root)


def test_a_number_has_the_class_that_folders_of_the_list_give_it(tmp_path: Path) -> None:
    root = pacs_lists(tmp_path / "p", "{domain}/{name}/00001.jpg {number}")
    write_pictures(root / "photo" / "misc", ["1.jpg"])
    write_lines(root / "lists" / "photo.txt", ["photo/misc/1.jpg 0", "photo/house/00001.jpg 0"])
    table, _ = imported("pacs", root)
    house = read_card("pacs").classes.index("house")
    assert table[table["domain"] == "P"]["label"].tolist() == [house, house]


def test_images_of_another_domain_are_not_taken_for_missing_ones(tmp_path: Path) -> None:
    root = pacs_lists(tmp_path / "p", "{domain}/{name}/00001.jpg {number}")
    (root / "photo" / "dog" / "00001.jpg").unlink()
    table, log = imported("pacs", root)
    assert len(table) == 27
    assert "lists/photo.txt lists 1 images that are not in" in log


def test_lists_that_name_no_image_are_reported(tmp_path: Path) -> None:
    root = pacs_lists(tmp_path / "p", "elsewhere/{domain}{number}.jpg {number}")
    table, log = imported("pacs", root)
    assert len(table) == 28
    assert re.search(
        r"ignored: lists/.*photo\.txt.*, because no list names an image of P, A, C, S that is in", log
    )
