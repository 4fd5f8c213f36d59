"""What `datasets list | show | fetch | verify | import` do; their arguments are in pipeline/cli/datasets.py."""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from pipeline.config import BuiltCard, DatasetCard, FolderCard, data_folder, read_card
from pipeline.core.errors import UserError
from pipeline.core.paths import yaml_files

MOST_SHOWN = 10
"""So many counts that differ are printed after an import."""


def _of_files(name: str) -> FolderCard:
    """The card `name`; UserError if it is of a set that is made here."""
    card = read_card(name)
    if not isinstance(card, FolderCard):
        raise UserError(
            f"{name} is made here by `prepare`, in seconds; there is nothing to fetch, import or verify"
        )
    return card


def _status(card: DatasetCard) -> dict[str, Any]:
    """Whether a data set is in place, where, and what gets it."""
    if isinstance(card, BuiltCard):
        return {"in_place": True, "folder": None, "command": None}
    from pipeline.data.sources.inventory import read_about

    about = read_about(card)
    automatic = any(source.automatic for source in card.sources)
    command = "fetch" if automatic else "import"
    wanted = (
        None
        if about
        else f"run_benchmark.py datasets {command} {card.name}" + ("" if automatic else " FOLDER")
    )
    return {"in_place": about is not None, "folder": str(data_folder(card.name)), "command": wanted}


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def list_cards(options: argparse.Namespace) -> int:
    """`datasets list`."""
    cards = [read_card(name) for name in yaml_files("datasets")]
    rows = [
        {
            "name": card.name,
            "title": card.title,
            "domains": list(card.domains),
            "classes": len(card.classes),
            "images": sum(sum(_counts(domain).values()) for domain in card.domains.values()),
            **_status(card),
        }
        for card in cards
    ]
    if options.json:
        print(json.dumps(rows))
        return 0
    for card, row in zip(cards, rows, strict=True):
        place = (
            "made here" if isinstance(card, BuiltCard) else "in place" if row["in_place"] else row["command"]
        )
        print(
            f"{row['name']:<12} {len(row['domains'])} domains, {row['classes']:3} classes, {row['images']:7,} images: "
            f"{card.title:<12} {place}"
        )
    return 0


def _counts(domain: Any) -> dict[str, int]:
    """How many images a domain has for training and, of others, for testing."""
    return {"train": domain.train} | ({"test": domain.test} if domain.test else {})


def show_card(options: argparse.Namespace) -> int:
    """`datasets show`."""
    card = read_card(options.name)
    status = _status(card)
    if options.json:
        print(json.dumps(_as_json(card) | status))
        return 0
    print(f"{card.name}: {card.title}\nclasses: {', '.join(card.classes)}")
    reworded = ", ".join(f"{name} as {word!r}" for name, word in card.prompt_words.items())
    print(f"in prompts: {reworded}\n" if reworded else "", end="")
    for short, domain in card.domains.items():
        split = card.split if isinstance(card, FolderCard) else None
        counts = ", ".join(f"{count:7,} {split}" for split, count in _counts(domain).items())
        shown = f"{domain.train:7,} images" if split == "all" else counts
        print(f"{short:>4}  {shown}  {domain.name}. {domain.about}".rstrip())
    if isinstance(card, FolderCard):
        _show_place(card, status)
    print(f"licence: {card.licence}\ncite:\n{card.citation}")
    return 0


def _show_place(card: FolderCard, status: dict[str, Any]) -> None:
    """Prints how images are split, whether they are in place, and where they are to be had."""
    from pipeline.data.sources.fetch import by_hand
    from pipeline.data.sources.inventory import read_about

    says = (
        "every image is for training and for testing" if card.split == "all" else "by the publisher's lists"
    )
    print(f"split: {says}")
    about = read_about(card)
    if about is not None:
        print(f"in place: {status['folder']}, {about.how} to {about.folder}\n  {about.layout}")
    else:
        print(f"not in place ({status['folder']}); to get it: {status['command']}\n{by_hand(card)}")


def _as_json(card: DatasetCard) -> dict[str, Any]:
    """All of a card."""
    about = {
        name: getattr(card, name)
        for name in ("name", "title", "image_size", "classes", "licence", "citation")
    }
    about |= {"words": [card.word(label) for label in range(len(card.classes))]}
    about |= {"domains": {short: domain.model_dump() for short, domain in card.domains.items()}}
    if isinstance(card, FolderCard):
        about |= {"split": card.split, "sources": [source.model_dump() for source in card.sources]}
    return about


def fetch_images(options: argparse.Namespace) -> int:
    """`datasets fetch`."""
    from pipeline.data.sources.fetch import fetch
    from pipeline.data.sources.inventory import read_about

    card = _of_files(options.name)
    about = read_about(card)
    if about is not None:
        _say(f"{card.name} is in place already; delete {data_folder(card.name)} to get it anew")
    else:
        about = fetch(card, _say, _shown)
    return _told(card, options)


def _shown(name: str) -> Callable[[int, int | None], None]:
    """Shows how much of a download is there, a line for every tenth of it or, if its length is unknown, for 100 MB."""
    said = -1

    def progress(have: int, total: int | None) -> None:
        nonlocal said
        tenth = 10 * have // total if total else have // 10**8
        if tenth != said:
            said = tenth
            _say(f"  {name}: {have / 1e6:,.0f} MB" + (f" of {total / 1e6:,.0f}" if total else ""))

    return progress


def import_images(options: argparse.Namespace) -> int:
    """`datasets import`."""
    from pipeline.data.sources.fetch import import_archive
    from pipeline.data.sources.importer import import_folder

    card = _of_files(options.name)
    take = import_archive if options.folder.is_file() else import_folder
    take(card, options.folder.expanduser(), _say)
    return _told(card, options)


def verify_images(options: argparse.Namespace) -> int:
    """`datasets verify`."""
    from pipeline.data.sources.inventory import damaged, differences, read_inventory

    card = _of_files(options.name)
    table = read_inventory(card)
    broken, differing = list(damaged(card, table)), list(differences(card, table))
    if options.json:
        print(
            json.dumps(
                {"images": len(table), "damaged": broken, "differences": [vars(each) for each in differing]}
            )
        )
    else:
        for each in (*broken, *differing):
            print(each)
        print(
            f"{len(table):,} images checked: {len(broken):,} missing or changed, {len(differing):,} counts unlike the card's"
        )
    return int(bool(broken or differing))


def _told(card: FolderCard, options: argparse.Namespace) -> int:
    """Prints what is in place now, and where it is other than the card says, which stops nothing."""
    from pipeline.data.sources.inventory import differences, read_about, read_inventory

    about, differing = read_about(card), list(differences(card, read_inventory(card)))
    if options.json:
        print(json.dumps(vars(about) | {"differences": [vars(each) for each in differing]}))
        return 0
    counts = ", ".join(f"{domain} {count:,}" for domain, count in about.images.items())
    print(
        f"{card.name} is in place in {data_folder(card.name)}: {sum(about.images.values()):,} images ({counts}), {about.how}"
    )
    for each in differing[:MOST_SHOWN]:
        print(each)
    if differing:
        more = (
            f"{len(differing) - MOST_SHOWN} counts more differ (all: datasets verify {card.name}). "
            if len(differing) > MOST_SHOWN
            else ""
        )
        print(
            f"{more}Suites can be run with these images; their numbers are no longer those of the published set."
        )
    return 0
