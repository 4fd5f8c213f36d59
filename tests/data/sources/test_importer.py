"""Importing: every known layout of a dataset gives the same images with the same labels."""

import errno
import os
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from pipeline.config import FolderCard, read_card, resolve_card
from pipeline.config.names import simplified
from pipeline.core.errors import UserError
from pipeline.data.sources.importer import import_folder
from pipeline.data.sources.inventory import damaged, differences, read_inventory
from tests.data.layout_samples import (
    OFFICE_HOME,
    PACS,
    VISDA,
    office_home,
    picture,
    write_folders,
    write_pictures,
)

pytestmark = pytest.mark.usefixtures("data_root")


def imported(name: str, folder: Path) -> tuple[pd.DataFrame, str]:
    """What is in place after an import, and what it said."""
    said: list[str] = []
    card = read_card(name)
    import_folder(card, folder, said.append)
    table = read_inventory(card)
    assert list(damaged(card, table)) == []
    return table, "\n".join(said)


def labels(table: pd.DataFrame) -> Counter[tuple[str, int]]:
    """How many images of each domain have each label."""
    return Counter(zip(table["domain"], table["label"], strict=True))


def everywhere(card: FolderCard, count: int) -> dict[tuple[str, int], int]:
    """`count` images of each class in each domain."""
    return {(domain, label): count for domain in card.domains for label in range(len(card.classes))}


# --- a folder for each domain


@pytest.mark.parametrize("real_world", ["Real World", "Real_World", "RealWorld", "real-world"])
@pytest.mark.parametrize("below", ["", "OfficeHomeDataset_10072016", "a/b"])
def test_office_home_however_its_folders_are_spelled(tmp_path: Path, real_world: str, below: str) -> None:
    card = read_card("office_home")
    small = card.model_copy(update={"classes": card.classes[:3]})
    write_folders(tmp_path / "mine" / below, small, OFFICE_HOME | {"Rw": real_world})
    table, said = imported("office_home", tmp_path / "mine")
    assert labels(table) == everywhere(small, 2)
    assert f"{real_world} = Rw" in said
    assert table["name"].iloc[0] == "Alarm_Clock/00001.jpg"
    assert set(table["split"]) == {2}


def test_all_of_office_home(tmp_path: Path, data_root: Path) -> None:
    table, _ = imported("office_home", office_home(tmp_path / "mine"))
    card = read_card("office_home")
    assert labels(table) == everywhere(card, 2)
    place = data_root / "office_home" / "images"
    assert (place / "Rw" / "TV").readlink() == tmp_path / "mine" / "Real World" / "TV"  # one link for a class
    assert (place / "Rw" / "TV" / "00001.jpg").read_bytes() == picture(
        "jpg", 7 * 3 + card.classes.index("TV")
    )


def test_domainbed_s_pacs(tmp_path: Path) -> None:
    table, said = imported("pacs", write_folders(tmp_path / "PACS", read_card("pacs"), PACS))
    assert labels(table) == everywhere(read_card("pacs"), 2)
    assert "the layout of DomainBed" in said


def test_visda_as_published(tmp_path: Path) -> None:
    """`train` is both a domain and a class; test/ has no class folders and is not part of the benchmark."""
    card = read_card("visda2017")
    write_folders(tmp_path / "visda", card, VISDA)
    write_pictures(tmp_path / "visda" / "test" / "trunk00", ["1.jpg"])
    assert labels(imported("visda2017", tmp_path / "visda")[0]) == everywhere(card, 2)


def test_office31_has_a_folder_between(tmp_path: Path) -> None:
    card = read_card("office31")
    write_folders(tmp_path / "o", card, {"A": "amazon", "D": "dslr", "W": "webcam"}, 1, inside="images")
    assert labels(imported("office31", tmp_path / "o")[0]) == everywhere(card, 1)


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", ".thumbnails/large", "more/.cache"])
def test_images_in_hidden_folders_are_no_images(tmp_path: Path, hidden: str) -> None:
    root = write_folders(tmp_path / "p", read_card("pacs"), PACS)
    write_pictures(root / "photo" / "dog" / hidden, ["00001-checkpoint.jpg"])
    write_pictures(root / "photo" / "horse" / "more", ["3.jpg"])
    table, _ = imported("pacs", root)
    expected = everywhere(read_card("pacs"), 2) | {("P", read_card("pacs").classes.index("horse")): 3}
    assert labels(table) == expected


def test_images_that_are_links_to_another_disk_are_taken(tmp_path: Path) -> None:
    """A folder of links is a common way to keep images in one place; an archive with links is refused."""
    stored = write_folders(tmp_path / "disk", read_card("pacs"), PACS)
    linked = tmp_path / "linked"
    for domain in stored.iterdir():
        for number, folder in enumerate(domain.iterdir()):
            place = linked / domain.name / folder.name
            place.parent.mkdir(parents=True, exist_ok=True)
            if number == 0:
                place.symlink_to(folder)  # the folder of a class is a link
                continue
            place.mkdir()
            for image in folder.iterdir():
                (place / image.name).symlink_to(image)
    table, said = imported("pacs", linked)
    assert labels(table) == everywhere(read_card("pacs"), 2)
    assert "left out" not in said


def test_what_is_no_file_is_left_out_and_reported(tmp_path: Path, data_root: Path) -> None:
    root = write_folders(tmp_path / "p", read_card("pacs"), PACS)
    (root / "photo" / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (root / "photo" / "dog" / "folder.jpg").mkdir()
    os.mkfifo(root / "photo" / "dog" / "pipe.jpg")
    table, said = imported("pacs", root)
    assert labels(table) == everywhere(read_card("pacs"), 2)
    assert re.search(
        r"left out: 2 images that are broken links or no regular files, for example .*gone\.jpg", said
    )


def test_an_import_that_fails_leaves_nothing_behind(
    tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folders(tmp_path / "p", read_card("pacs"), PACS)
    imported("pacs", root)
    monkeypatch.setattr("pipeline.data.sources.importer.Linker.put", raise_disk_full)
    with pytest.raises(UserError, match="pacs cannot be imported: No space left on device"):
        imported("pacs", root)
    assert sorted(path.name for path in (data_root / "pacs").iterdir()) == [
        "dataset.json",
        "images",
        "index.csv",
    ]
    assert len(read_inventory(read_card("pacs"))) == 56  # the earlier import stays


def raise_disk_full(*args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scandir = write_folders(tmp_path / "p", read_card("pacs"), PACS), os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("photo/dog/deep"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    write_pictures(root / "photo" / "dog" / "deep", ["1.jpg"])
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match="photo/dog/deep cannot be read: Permission denied"):
        imported("pacs", root)


def test_hidden_files_and_other_files_are_no_images(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "p", read_card("pacs"), PACS)
    for name in ("._pic.jpg", ".DS_Store", "Thumbs.db", "notes.txt"):
        (root / "photo" / "dog" / name).write_bytes(b"x")
    write_pictures(root / "photo" / "cat", ["1.jpg"])
    table, said = imported("pacs", root)
    assert labels(table) == everywhere(read_card("pacs"), 2)
    assert re.search("ignored: .*cat, because pacs has no class of this name", said)


def test_a_missing_domain_or_class_is_named(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "p", read_card("pacs"), {"P": "photo"})
    with pytest.raises(UserError, match=r"missing .* S \(a folder called Sketch\); nothing was imported"):
        imported("pacs", root)
    write_folders(root, read_card("pacs"), {"A": "art_painting", "C": "cartoon"})
    (root / "sketch").mkdir()
    with pytest.raises(UserError, match=r"sketch contains no folder named like a class of pacs \(dog,"):
        imported("pacs", root)
    write_pictures(root / "sketch" / "dog", ["1.png"])
    assert (
        labels(imported("pacs", root)[0])["S", 0] == 1
    )  # a class may be empty: DomainNet's painting lacks one
    write_pictures(root / "Sketch" / "dog", ["1.png"])
    with pytest.raises(UserError, match="both be domain S of pacs; take one away"):
        imported("pacs", root)
    with pytest.raises(UserError, match="there is no folder"):
        imported("pacs", tmp_path / "nowhere")


def letters(**changes: object) -> FolderCard:
    """A card whose classes differ in case or signs only."""
    pacs = read_card("pacs")
    assert isinstance(pacs, FolderCard)
    fields = {"title": "x", "image_size": 32, "licence": "x", "citation": "x", "sources": pacs.sources}
    domains = {name: {"name": name, "images": 6} for name in ("Scanned", "Photo")}
    words = {"A": "capital a", "C++": "c plus plus", "-": "minus", "+": "plus"}
    classes = ["A", "a", "C", "C++", "+", "-", "b_1"]
    stated = {"name": "letters", "classes": classes, "domains": domains, "prompt_words": words}
    return FolderCard.model_validate(fields | stated | changes)


def test_classes_that_differ_in_case_or_signs_only_stay_apart(tmp_path: Path) -> None:
    card = letters()
    for domain in card.domains:
        for name in card.classes:
            folder = "B 1" if name == "b_1" else name
            write_pictures(tmp_path / "letters" / domain.lower() / folder, ["1.png", "2.png"])
    import_folder(card, tmp_path / "letters", lambda text: None)
    table = read_inventory(card)
    assert labels(table) == everywhere(card, 2)
    assert set(table["name"].str.partition("/")[0]) == set(card.classes)


def test_a_folder_that_could_be_two_classes_is_refused(tmp_path: Path) -> None:
    card = letters()
    for domain in card.domains:
        write_pictures(tmp_path / "letters" / domain / "a", ["1.png"])
    write_pictures(tmp_path / "letters" / "Photo" / "_a_", ["1.png"])
    with pytest.raises(UserError, match="_a_ could be class A or a of letters; rename it"):
        import_folder(card, tmp_path / "letters", lambda text: None)


def test_folders_that_are_one_class_are_reported(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "p", read_card("pacs"), PACS)
    write_pictures(root / "photo" / "Dog", ["more.jpg"])
    table, said = imported("pacs", root)
    assert labels(table)["P", 0] == 3
    assert "are both class dog" in said


def test_simplified_names() -> None:
    assert (
        len(
            {
                simplified(name)
                for name in ("Real World", "real_world", "RealWorld", "REAL-WORLD ", "Ｒeal World")
            }
        )
        == 1
    )
    assert simplified("art") != simplified("art_painting")


# --- image lists


def write_list(path: Path, lines: list[tuple[str, int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name} {number}\n" for name, number in lines), encoding="utf-8")


def files(root: Path, domain: str) -> list[Path]:
    return sorted((root / domain).rglob("*.*"))


@pytest.mark.parametrize("prefix", ["", "/data/office-home/images/"])
def test_the_library_s_lists_number_classes_in_an_order_of_their_own(tmp_path: Path, prefix: str) -> None:
    """As thuml's, which begin with Drill = 0; and with folders of another machine, as CDAN's."""
    card = read_card("office_home")
    small = card.model_copy(update={"classes": ["Drill", "Bed", "TV"]})
    root = write_folders(tmp_path / "tll", small, OFFICE_HOME | {"Rw": "Real_World"}, 3)
    for domain in ("Art", "Clipart", "Product", "Real_World"):
        kept = [path for path in files(root, domain) if path.name != "00003.jpg"]
        write_list(
            root / "image_list" / f"{domain}.txt",
            [(f"{prefix}{p.relative_to(root)}", small.classes.index(p.parent.name)) for p in kept],
        )
    table, said = imported("office_home", root)
    assert labels(table) == {(d, card.classes.index(c)): 2 for d in card.domains for c in small.classes}
    assert "image_list/Real_World.txt = Rw" in said


def test_pacs_by_its_kfold_lists_which_number_from_one(tmp_path: Path) -> None:
    card = read_card("pacs")
    root = write_folders(tmp_path / "PACS" / "kfold", card, PACS, 4).parent
    for domain in PACS.values():
        numbered = [
            (str(p.relative_to(root / "kfold")), 1 + card.classes.index(p.parent.name))
            for p in files(root / "kfold", domain)
        ]
        write_list(root / "splits" / f"{domain}_train_kfold.txt", numbered[:-7])
        write_list(root / "splits" / f"{domain}_crossval_kfold.txt", numbered[-7:])
        write_list(root / "splits" / f"{domain}_test_kfold.txt", numbered)
    table, said = imported("pacs", root)
    assert labels(table) == everywhere(card, 4)
    assert "art_painting_test_kfold.txt = A" in said


def test_vlcs_by_jigen_s_lists_where_folders_are_numbers(tmp_path: Path) -> None:
    card = read_card("vlcs")
    for at, domain in enumerate(("CALTECH", "LABELME", "SUN", "PASCAL")):
        for label in range(5):
            (train,) = write_pictures(
                tmp_path / "VLCS" / domain / "full" / str(label), ["crossval_imgs_1.jpg"], at
            )
            (test,) = write_pictures(
                tmp_path / "VLCS" / domain / "test" / str(label), ["test_imgs_1.jpg"], at + 40
            )
            for path, split in ((train, "train"), (test, "test")):
                with (tmp_path / "VLCS" / f"{domain}_{split}.txt").open("a") as file:
                    file.write(f"/home/x/data/{path.relative_to(tmp_path)} {label}\n")
    table, _ = imported("vlcs", tmp_path / "VLCS")
    assert labels(table) == everywhere(card, 2)


def test_domainnet_s_lists_say_what_is_for_testing(tmp_path: Path) -> None:
    card = read_card("domainnet")
    domains = ["clipart", "infograph", "painting", "quickdraw", "real", "sketch"]
    for domain in domains:
        paths = write_pictures(
            tmp_path / "d" / domain / "aircraft_carrier", ["1.jpg", "2.jpg", "not listed.jpg"]
        )
        for split, path in zip(("train", "test"), paths, strict=False):
            write_list(tmp_path / "d" / f"{domain}_{split}.txt", [(str(path.relative_to(tmp_path / "d")), 0)])
    table, _ = imported("domainnet", tmp_path / "d")
    assert table["split"].tolist() == [0, 1] * 6
    assert list(card.domains) == table["domain"].unique().tolist()
    for domain in domains:
        (tmp_path / "d" / f"{domain}_test.txt").unlink()
        (tmp_path / "d" / f"{domain}_train.txt").unlink()
    table, said = imported("domainnet", tmp_path / "d")
    assert set(table["split"]) == {2}
    assert "some domain has no lists of a split" in said


def domainnet_lists(root: Path, lists: dict[str, list[str]]) -> Path:
    """DomainNet with two images per domain; `lists`: the images of a list, by the end of its name."""
    for domain in ("clipart", "infograph", "painting", "quickdraw", "real", "sketch"):
        write_pictures(root / domain / "airplane", ["1.jpg", "2.jpg"])
        for end, names in lists.items():
            write_list(root / f"{domain}{end}.txt", [(f"{domain}/airplane/{name}", 1) for name in names])
    return root


def test_lists_of_a_split_win_over_a_list_of_all_images(tmp_path: Path) -> None:
    both = {"_train": ["1.jpg"], "_test": ["2.jpg"]}
    root = domainnet_lists(tmp_path / "d", both | {"": ["1.jpg", "2.jpg"]})
    write_list(root / "._clipart_train.txt", [])  # macOS' companion of a list
    (root / "._clipart_train.txt").write_bytes(b"\0\5\x16\7\xff")
    table, said = imported("domainnet", root)
    assert table["split"].tolist() == [0, 1] * 6
    assert "ignored: clipart.txt, because other lists of clp state a split" in said


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"_train": ["1.jpg", "2.jpg"], "": ["1.jpg", "2.jpg"]}, "lists of clp, .* no image for testing"),
        ({"_test": ["1.jpg"]}, "lists of clp, .* no image for training"),
    ],
)
def test_lists_of_one_split_alone_are_refused(
    tmp_path: Path, lists: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        imported("domainnet", domainnet_lists(tmp_path / "d", lists))


def test_images_of_both_splits_are_reported(tmp_path: Path) -> None:
    root = domainnet_lists(tmp_path / "d", {"_train": ["1.jpg", "2.jpg"], "_test": ["2.jpg"]})
    table, said = imported("domainnet", root)
    assert table["split"].tolist() == [0, 2] * 6
    assert "1 images of clp are in lists for training and for testing" in said
    root = domainnet_lists(tmp_path / "union", {"": ["1.jpg", "2.jpg"]})
    table, said = imported("domainnet", root)
    assert set(table["split"]) == {2}
    assert "every image is used for training and for testing" in said


def test_counts_for_testing_are_compared_with_the_card(tmp_path: Path) -> None:
    card = read_card("domainnet")
    counts = {"images": 2, "test": 1, "per_class": None}
    domains = {short: domain.model_copy(update=counts) for short, domain in card.domains.items()}
    card = card.model_copy(update={"domains": domains})
    root = domainnet_lists(tmp_path / "d", {"_train": ["1.jpg"], "_test": ["2.jpg"]})
    assert list(differences(card, imported("domainnet", root)[0])) == []
    root = domainnet_lists(tmp_path / "union", {"": ["1.jpg", "2.jpg"]})
    found = list(map(str, differences(card, imported("domainnet", root)[0])))
    assert found[0] == "domain clp: 2 images for testing, but the card states 1"
    assert len(found) == 6


def test_visda_s_own_lists(tmp_path: Path) -> None:
    card = read_card("visda2017")
    root = write_folders(tmp_path / "v", card, VISDA, 1)
    for folder in VISDA.values():
        write_list(
            root / folder / "image_list.txt",
            [
                (str(p.relative_to(root / folder)), card.classes.index(p.parent.name))
                for p in files(root, folder)
            ],
        )
    assert labels(imported("visda2017", root)[0]) == everywhere(card, 1)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("photo/dog/00001.jpg", r"photo\.txt, line 1: expected a path and the number or name of a class"),
        ("photo/dog/00001.jpg x", "line 1: expected a path and the number"),
        ("photo/cat/00001.jpg 9", "line 1: 9 is no class: pacs has 7 classes"),
        (
            "photo/dog/00001.jpg 0\nphoto/house/00001.jpg 0",
            "line 2: 0 stands for house, but in an earlier line for dog",
        ),
    ],
)
def test_a_wrong_list_is_refused_by_its_line(tmp_path: Path, line: str, told: str) -> None:
    root = write_folders(tmp_path / "p", read_card("pacs"), PACS)
    for domain in PACS.values():
        write_list(root / f"{domain}.txt", [(f"{domain}/dog/00001.jpg", 0)])
    write_pictures(root / "photo" / "cat", ["00001.jpg"])
    (root / "photo.txt").write_text(line + "\n")
    with pytest.raises(UserError, match=told):
        imported("pacs", root)


def test_listed_images_that_are_missing_or_outside_are_counted(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "p", read_card("pacs"), PACS, 1)
    write_pictures(tmp_path / "dog", ["secret.jpg"])
    for domain in PACS.values():
        write_list(
            root / f"{domain}.txt",
            [(f"{domain}/dog/00001.jpg", 0), (f"{domain}/dog/gone.jpg", 0), ("../dog/secret.jpg", 0)],
        )
    table, said = imported("pacs", root)
    assert len(table) == 4
    assert "photo.txt lists 2 images that are not in" in said
    for domain in PACS.values():  # lists of images that are elsewhere are no reason not to take the folders
        write_list(root / f"{domain}.txt", [(f"elsewhere/{domain}.jpg", 0)])
    assert len(imported("pacs", root)[0]) == 28


# --- what is put in place


def test_odd_names_are_taken_and_names_that_are_none_left_out(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "a 'quoted' \"folder\", with a comma", read_card("pacs"), PACS, 1)
    odd = ["with space.jpg", "quote'\".jpg", "комната, 部屋.jpg", "é.JPG"]
    write_pictures(root / "photo" / "dog", odd)
    for bad in (b"latin1-\xe9.jpg", b"two\nlines.jpg"):
        Path(os.fsdecode(os.fsencode(root / "photo" / "dog") + b"/" + bad)).write_bytes(picture("jpg", 0))
    table, said = imported("pacs", root)
    taken = table[(table["domain"] == "P") & (table["label"] == 0)]["name"]
    assert sorted(taken) == sorted(f"dog/{name}" for name in (*odd, "00001.jpg"))
    assert "left out: 2 images whose names are not UTF-8 or contain control characters" in said


@pytest.mark.parametrize(("missing", "how"), [(["symlink"], "hard links"), (["symlink", "link"], "copies")])
def test_where_links_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: list[str], how: str
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EPERM, "not here")

    root = write_folders(tmp_path / "p", read_card("pacs"), PACS)
    for name in missing:
        monkeypatch.setattr(os, name, refuse)
    about = import_folder(read_card("pacs"), root, lambda text: None)
    assert about.how == how
    assert labels(read_inventory(read_card("pacs"))) == everywhere(read_card("pacs"), 2)


def test_content_is_that_of_the_images_wherever_they_are(tmp_path: Path, data_root: Path) -> None:
    """So that two machines with the same images share the products of jobs."""
    card, contents = read_card("pacs"), []
    for where, count in (("here", 2), ("there/kfold", 2), ("more", 3)):
        root = write_folders(tmp_path / where, card, PACS, count)
        contents.append(import_folder(card, root, lambda text: None).content)
        assert resolve_card(card).content == contents[-1]
    assert contents[0] == contents[1] != contents[2]
    assert sorted(path.name for path in (data_root / "pacs").iterdir()) == [
        "dataset.json",
        "images",
        "index.csv",
    ]
    assert (tmp_path / "here" / "photo" / "dog" / "00001.jpg").exists()  # what is replaced are links alone


def test_an_import_that_broke_off_is_not_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, card = write_folders(tmp_path / "p", read_card("pacs"), PACS), read_card("pacs")
    imported("pacs", root)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.data.sources.inventory.write_atomic", lambda path, text: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            imported("pacs", root)
    with pytest.raises(UserError, match=r"pacs is not in .*datasets fetch pacs.*datasets import pacs FOLDER"):
        read_inventory(card)
    assert len(imported("pacs", root)[0]) == 56


def test_what_was_imported_is_not_imported_from(tmp_path: Path, data_root: Path) -> None:
    imported("pacs", write_folders(tmp_path / "p", read_card("pacs"), PACS))
    with pytest.raises(UserError, match="is the result of an import"):
        imported("pacs", data_root / "pacs" / "images")


def test_counts_that_differ_are_named_by_domain_and_class(tmp_path: Path) -> None:
    root, card = write_folders(tmp_path / "p", read_card("pacs"), PACS, 1), read_card("pacs")
    counts = [1] * 7
    same = {
        short: domain.model_copy(update={"images": 7, "per_class": counts})
        for short, domain in card.domains.items()
    }
    exact = card.model_copy(update={"domains": same})
    table = imported("pacs", root)[0]
    assert list(differences(exact, table)) == []
    (root / "photo" / "horse" / "00001.jpg").unlink()
    found = list(map(str, differences(exact, imported("pacs", root)[0])))
    assert found == [
        "domain P: 6 images, but the card states 7",
        "domain P, class horse: 0 images, but the card states 1",
    ]


def test_images_that_go_or_change_after_the_import_are_found(tmp_path: Path) -> None:
    root, card = write_folders(tmp_path / "p", read_card("pacs"), PACS), read_card("pacs")
    table = imported("pacs", root)[0]
    (root / "photo" / "dog" / "00001.jpg").unlink()
    (root / "photo" / "dog" / "00002.jpg").write_bytes(b"x")
    first, second = damaged(card, table)
    assert first.endswith("P/dog/00001.jpg is missing")
    assert re.search(r"00002\.jpg has 1 bytes, but had \d+ when it was imported", second)
    index = Path(os.environ["TERRABENCH_DATA"]) / "pacs" / "index.csv"
    index.write_text(index.read_text().replace("P,0", "P,1"))
    with pytest.raises(UserError, match="was changed; import pacs again"):
        read_inventory(card)
