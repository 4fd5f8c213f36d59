"""Layouts by folders: splits as Dassl has them, and domains without labels or without a folder."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from pipeline.cli import main
from pipeline.config import FolderCard, absent_domains, read_card, resolve_card
from pipeline.core.errors import UserError
from pipeline.data import prepare
from pipeline.data.image_sets import load_labelled
from pipeline.data.sources.importer import import_folder
from pipeline.data.sources.inventory import damaged, differences, read_inventory
from pipeline.planning.kinds.prepare import PrepareParams
from tests.data.layout_samples import PACS, VISDA, write_folders, write_pictures

pytestmark = pytest.mark.usefixtures("data_root")

CLASSES = ("Alarm_Clock", "Backpack")
SUITE = """\
extends: digits_smoke
name: mine
title: Mine
dataset: office_home
tasks: [Ar->Cl, Ar->Pr]
augmentations: [none]
methods: [ERM]
selections: [last]
train: {backbone: resnet18, augment_shift: 0}
"""
DOMAINNET = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")


def folder_card(name: str) -> FolderCard:
    card = read_card(name)
    assert isinstance(card, FolderCard)
    return card


def imported(name: str, folder: Path) -> tuple[pd.DataFrame, str]:
    """What is in place after an import, and what was logged."""
    log: list[str] = []
    card = folder_card(name)
    import_folder(card, folder, log.append)
    table = read_inventory(card)
    assert list(damaged(card, table)) == []
    return table, "\n".join(log)


def labels(table: pd.DataFrame) -> Counter[tuple[str, int]]:
    """How many images of each domain have each label."""
    return Counter(zip(table["domain"], table["label"], strict=True))


@pytest.mark.parametrize("val", [["3.jpg"], ["1.jpg"]], ids=["other names", "equal names"])
def test_dassl_s_folders_of_splits(tmp_path: Path, val: list[str]) -> None:
    for domain in ("art", "clipart", "product", "real_world"):
        for name in ("alarm_clock", "backpack"):
            write_pictures(tmp_path / "office_home_dg" / domain / "train" / name, ["1.jpg", "2.jpg"])
            write_pictures(tmp_path / "office_home_dg" / domain / "val" / name, val)
    table, log = imported("office_home", tmp_path)
    assert labels(table) == {(short, label): 3 for short in ("Ar", "Cl", "Pr", "Rw") for label in (0, 1)}
    assert set(table["split"]) == {2}
    assert not table.duplicated(["domain", "name"]).any()
    assert "art: all images in train, val are used for training and for testing" in log


def test_folders_of_splits_state_the_split_of_a_dataset_that_has_one(tmp_path: Path) -> None:
    for domain in DOMAINNET:
        write_pictures(tmp_path / domain / "train" / "airplane", ["1.jpg", "2.jpg"])
        write_pictures(tmp_path / domain / "test" / "airplane", ["3.jpg"])
        write_pictures(tmp_path / domain / "test" / "zebra", ["1.jpg"])
    table, log = imported("domainnet", tmp_path)
    assert table["name"].tolist() == ["airplane/1.jpg", "airplane/2.jpg", "airplane/3.jpg", "zebra/1.jpg"] * 6
    assert table["split"].tolist() == [0, 0, 1, 1] * 6
    assert "sketch: of test, train, the images in test are for testing only" in log
    assert "every image is used" not in log


def test_visda_s_class_train_is_no_split(tmp_path: Path) -> None:
    card = folder_card("visda2017")
    only = card.model_copy(update={"classes": ["train"]})
    table, _ = imported("visda2017", write_folders(tmp_path / "v", only, VISDA))
    assert labels(table) == {("S", card.classes.index("train")): 2, ("R", card.classes.index("train")): 2}


@pytest.mark.parametrize("inside", ["", "images"])
def test_a_domain_without_labels_is_called_that(tmp_path: Path, inside: str) -> None:
    root = write_folders(tmp_path / "p", folder_card("pacs"), {k: v for k, v in PACS.items() if k != "S"}, 1)
    write_pictures(root / "sketch" / inside, ["0.jpg", "1.jpg"])
    with pytest.raises(
        UserError, match="contains 2 images without labels: no folders named like the classes of pacs"
    ):
        imported("pacs", root)


def two_of_four(root: Path) -> Path:
    """Office-Home of which only Art and Clipart were downloaded."""
    card = folder_card("office_home")
    small = card.model_copy(update={"classes": card.classes[:2]})
    return write_folders(root, small, {"Ar": "Art", "Cl": "Clipart"})


@pytest.mark.parametrize("lists", [[], ["Art", "Clipart"], ["Art", "Clipart", "Product", "RealWorld"]])
def test_some_domains_are_enough(tmp_path: Path, lists: list[str]) -> None:
    """Also if there are lists of these domains, or lists of all."""
    root = two_of_four(tmp_path / "oh")
    for domain in lists:
        lines = [f"{domain}/{name}/0000{n}.jpg {row}\n" for row, name in enumerate(CLASSES) for n in (1, 2)]
        (root / f"{domain}.txt").write_text("".join(lines))
    table, log = imported("office_home", root)
    assert labels(table) == {(domain, label): 2 for domain in ("Ar", "Cl") for label in (0, 1)}
    assert "missing: Pr, Rw; only tasks between Ar, Cl can be run" in log
    assert ("image lists" in log) == bool(lists)
    of_missing = [str(each) for each in differences(folder_card("office_home"), table) if each.domain == "Pr"]
    assert of_missing == ["domain Pr: 0 images, but the card states 4,439"]


def test_a_dataset_in_part_is_prepared(tmp_path: Path) -> None:
    imported("office_home", two_of_four(tmp_path / "oh"))
    card = resolve_card(read_card("office_home"))
    assert absent_domains(card) == ["Pr", "Rw"]
    with pytest.warns(UserWarning, match="office_home: domain Ar: 4 images"):
        prepare.run(PrepareParams(card=card), {}, tmp_path, lambda *args: None)
    assert len(load_labelled(tmp_path, "Cl", "test")) == 4


def test_a_plan_of_domains_without_images_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imported("office_home", two_of_four(tmp_path / "oh"))
    suite = tmp_path / "mine.yaml"
    suite.write_text(SUITE)
    assert main(["plan", str(suite), "--only", "task=Ar->Cl"]) == 0
    capsys.readouterr()
    for command in (["plan", str(suite)], ["run", str(suite), "--results", str(tmp_path)]):
        assert main([*command, "--store", str(tmp_path / "store")]) == 2
        error = capsys.readouterr().err
        assert "office_home was imported without Pr, which" in error
        assert "keep to Ar, Cl" in error


def test_images_by_other_names_are_taken_or_reported(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "p", folder_card("pacs"), PACS, 1)
    dogs = root / "photo" / "dog"
    write_pictures(dogs, ["a.jfif", "B.JFIF", "no_suffix", "image.jpg.download"])
    (dogs / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    for name in ("notes", "Thumbs.db", "film.mp4"):
        (dogs / name).write_bytes(b"\0\0\0\x18ftypisom")
    table, log = imported("pacs", root)
    names = table[(table["domain"] == "P") & (table["label"] == 0)]["name"]
    assert names.tolist() == ["dog/00001.jpg", "dog/B.JFIF", "dog/a.jfif"]
    assert (
        f"left out: 3 files that begin like an image but are not named like one, for example {dogs}/" in log
    )
