"""The commands `datasets list | show | fetch | verify | import | new`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.arguments import Call, add_command, with_json
from pipeline.cli.terminal import remark, say, say_json
from pipeline.core.text import one_line

if TYPE_CHECKING:
    from pipeline.config import FolderCard
    from pipeline.data.sources.download import Progress

ABOUT = """\
A dataset is described by a card under datasets/: domains, classes, counts, sources of its images, licence and
citation. Its images are under datasets/data/NAME ($TERRABENCH_DATA/NAME, if that is set). `digits` is built
here and needs no download.

examples:
  run_benchmark.py datasets list                      list the datasets, and which are in place
  run_benchmark.py datasets show office_home          show one of them, and the command that gets it
  run_benchmark.py datasets fetch visda2017           download, verify, unpack and import it
  run_benchmark.py datasets import pacs ~/data/PACS   import it from a folder or an archive that you have
  run_benchmark.py datasets verify office_home        count its images, and check that each can be read
  run_benchmark.py datasets new mine ~/data/mine      write a card for images of your own"""

FETCH = """\
Resumes an interrupted download. If a licence requires a form or a click, prints what to do by hand."""

VERIFY = """\
exit codes: 0 everything agrees with the card; 1 something differs; 2 the dataset is not in place"""

IMPORT = """\
FOLDER may have the published or unpacked layout, that of DomainBed or of Dassl (DOMAIN/train|val/CLASS), or
image lists of the transfer-learning library (image_list/Art.txt with lines `path label`, where the label is
the number or the name of a class), which then select the images. Two domains are enough for the tasks between
them. The domains may lie some folders down. Case, spaces and underscores in names do not matter: Real World,
Real_World, RealWorld.

The images are linked, not copied, so keep FOLDER where it is. Where links are impossible, hard links or
copies are made, and a message says so. FOLDER may also be an archive (zip, tar, tar.gz), which is unpacked
first."""

NEW = """\
Writes ./datasets/NAME.yaml with the domains, classes and counts of FOLDER/DOMAIN/CLASS/*.jpg. Edit it, then
import the same FOLDER."""

EXAMPLES = {
    "list": "",
    "show": "office_home",
    "fetch": "visda2017",
    "verify": "office_home",
    "import": "pacs ~/data/PACS",
    "new": "my_set ~/pictures",
}
"""The arguments of the example in each verb's help."""

MAX_DIFFERENCES = 10
"""Number of differing counts that are printed after an import."""


def add(commands: Any) -> None:
    """Add `datasets`."""
    parser = commands.add_parser(
        "datasets",
        help="list, show, fetch, verify or import datasets",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def add_verb(name: str, call: Call, about: str, more: str = "") -> argparse.ArgumentParser:
        example = f"example: run_benchmark.py datasets {name} {EXAMPLES[name]}"
        sub = add_command(verbs, name, call, about, "\n\n".join(filter(None, (more, example.rstrip()))))
        if name != "list":
            what = "the name of the new dataset" if name == "new" else "a dataset that `datasets list` names"
            sub.add_argument("name", metavar="NAME", help=what)
        with_json(sub)
        return sub

    add_verb("list", list_datasets, "list the datasets, and say which are in place")
    add_verb("show", show, "show a dataset's card, whether it is in place, and the command that gets it")
    add_verb("fetch", fetch, "download a dataset, verify it, and put it in place", FETCH)
    add_verb(
        "verify",
        verify,
        "check that all images of a dataset can be read, and their counts match the card",
        VERIFY,
    )
    about = "import a dataset from a folder that you have"
    add_verb("import", import_dataset, about, IMPORT).add_argument(
        "folder", type=Path, metavar="FOLDER", help="the folder of its images, or an archive of them"
    )
    about = "write a card for a dataset of your own, to be edited"
    add_verb("new", new, about, NEW).add_argument(
        "folder", type=Path, metavar="FOLDER", help="the folder of its images"
    )


def list_datasets(options: argparse.Namespace) -> int:
    """Carry out `datasets list`."""
    from pipeline.config import BuiltCard
    from pipeline.data.sources import catalogue

    cards, errors = catalogue.all_cards()
    for error in errors:
        remark(f"left out: {error}")
    rows = [catalogue.summary(card) for card in cards]
    if options.json:
        say_json(rows)
        return 0
    for card, row in zip(cards, rows, strict=True):
        state = "in place" if row["in_place"] else row["command"]
        say(
            f"{row['name']:<12} {len(row['domains'])} domains, {row['classes']:3} classes, "
            f"{row['images']:7,} images: {one_line(card.title):<12} "
            f"{'built here' if isinstance(card, BuiltCard) else state}"
        )
    return 0


def show(options: argparse.Namespace) -> int:
    """Carry out `datasets show`."""
    from pipeline.config import FolderCard
    from pipeline.data.sources import catalogue

    card = catalogue.find_card(options.name)
    if options.json:
        say_json(catalogue.describe(card))
        return 0
    say(f"{card.name}: {one_line(card.title)}\nclasses: {', '.join(card.classes)}")
    if card.prompt_words:
        say("in prompts: " + ", ".join(f"{name} as {word!r}" for name, word in card.prompt_words.items()))
    for short, count in catalogue.counts(card).items():
        domain = card.domains[short]
        if isinstance(card, FolderCard) and card.split == "all":
            numbers = f"{count['train']:7,} images"
        else:
            numbers = ", ".join(f"{number:7,} {split}" for split, number in count.items())
        say(f"{short:>4}  {numbers}  {one_line(f'{domain.name}. {domain.about}')}")
    if isinstance(card, FolderCard):
        _print_place(card)
    say(f"licence: {one_line(card.licence) or 'none stated'}")
    if card.citation:
        say(f"cite:\n{card.citation}")
    return 0


def _print_place(card: "FolderCard") -> None:
    """Print how images are split, whether they are in place, and how to get them."""
    from pipeline.data.sources import catalogue
    from pipeline.data.sources.instructions import manual_steps
    from pipeline.data.sources.inventory import read_import_record

    every = "every image is used for training and for testing"
    say(f"split: {every if card.split == 'all' else 'by the lists of the publisher'}")
    record, status = read_import_record(card), catalogue.status(card)
    if record is not None:
        say(f"in place: {status.folder}, {record.how} to {one_line(record.folder)}")
        say(f"  {one_line(record.layout)}")
    else:
        say(f"not in place ({status.folder}); to get it: {status.command}\n{manual_steps(card)}")


def fetch(options: argparse.Namespace) -> int:
    """Carry out `datasets fetch`."""
    from pipeline.config import data_folder
    from pipeline.data.sources import catalogue
    from pipeline.data.sources.fetch import fetch as fetch_images

    card = catalogue.find_folder_card(options.name)
    if catalogue.status(card).in_place:
        remark(f"{card.name} is in place already; delete {data_folder(card.name)} to fetch it again")
    else:
        fetch_images(card, remark, _download_progress)
    _print_import(card, options.json)
    return 0


def import_dataset(options: argparse.Namespace) -> int:
    """Carry out `datasets import`."""
    from pipeline.data.sources import catalogue
    from pipeline.data.sources.fetch import import_archive
    from pipeline.data.sources.importer import import_folder

    card, folder = catalogue.find_folder_card(options.name), options.folder.expanduser()
    (import_archive if folder.is_file() else import_folder)(card, folder, remark)
    _print_import(card, options.json)
    return 0


def new(options: argparse.Namespace) -> int:
    """Carry out `datasets new`."""
    from pipeline.core.paths import PROGRAM
    from pipeline.data.sources.draft import draft_card

    folder = options.folder.expanduser()
    draft = draft_card(options.name, folder)
    for note in draft.notes:
        remark(note)
    command = f"{PROGRAM} datasets import {options.name} {folder}"
    if options.json:
        say_json({"card": str(draft.path), "notes": draft.notes, "command": command})
    else:
        say(f"wrote {draft.path}; edit it, then: {command}")
    return 0


def verify(options: argparse.Namespace) -> int:
    """Carry out `datasets verify`."""
    from pipeline.data.sources import catalogue

    found = catalogue.verify(catalogue.find_folder_card(options.name))
    if options.json:
        say_json(vars(found) | {"differences": [vars(each) for each in found.differences]})
    else:
        for each in (*found.damaged, *found.unreadable, *found.differences, *found.absent):
            say(one_line(str(each)))
        say(
            f"{found.images:,} images checked: {len(found.damaged):,} missing or changed, "
            f"{len(found.unreadable):,} unreadable, "
            f"{len(found.differences):,} counts differ from the card's"
        )
    return int(bool(found.damaged or found.unreadable or found.differences))


def _download_progress(name: str) -> "Progress":
    """Log the progress of a download at every tenth of it, or every 100 MB if its length is unknown."""
    logged = -1

    def progress(received: int, total: int | None) -> None:
        nonlocal logged
        step = 10 * received // total if total else received // 10**8
        if step != logged:
            logged = step
            remark(f"  {name}: {received / 1e6:,.0f} MB" + (f" of {total / 1e6:,.0f}" if total else ""))

    return progress


def _print_import(card: "FolderCard", as_json: bool) -> None:
    """Print what is in place now, and the counts that differ from the card's."""
    from pipeline.config import data_folder
    from pipeline.data.sources import catalogue

    record, differing = catalogue.imported(card)
    if as_json:
        say_json(vars(record) | {"differences": [vars(each) for each in differing]})
        return
    counts = ", ".join(f"{domain} {count:,}" for domain, count in record.images.items())
    say(
        f"{card.name} is in place in {data_folder(card.name)}: "
        f"{sum(record.images.values()):,} images ({counts}), {record.how}"
    )
    for each in differing[:MAX_DIFFERENCES]:
        say(one_line(str(each)))
    if differing:
        more = len(differing) - MAX_DIFFERENCES
        hint = f"{more} more counts differ (all: datasets verify {card.name}). " if more > 0 else ""
        say(
            f"{hint}Suites run with these images, but their results are not comparable with those of the "
            "published dataset."
        )
