"""`datasets list | show | fetch | verify | import`."""

import argparse
from pathlib import Path
from typing import Any

from pipeline.cli.arguments import add_command, by, with_json

ABOUT = """\
A data set is a card under datasets/: domains, classes, counts, where its images are to be had, licence and citation.
Its images are under datasets/data/NAME ($TERRABENCH_DATA/NAME, if that is set). `digits` is made here and needs none.

  run_benchmark.py datasets list                      which there are, and which are in place
  run_benchmark.py datasets show office_home          one of them, and what gets it
  run_benchmark.py datasets fetch visda2017           download, check, unpack and import it
  run_benchmark.py datasets import pacs ~/data/PACS   take it from a folder or an archive that you have
  run_benchmark.py datasets verify office_home        count its images, and look whether all are there"""

IMPORT = """\
FOLDER may be what was published or unpacked, DomainBed's folder, or one with the transfer-learning library's lists of
images (image_list/Art.txt, lines of a path and a number), in which case those lists say what is taken. The domains may
lie some folders down, and case, spaces and underscores of names do not matter: Real World, Real_World, RealWorld.

Nothing is copied: the images are linked, so keep FOLDER where it is. Where links cannot be made, hard links or copies
are, which is said. FOLDER may also be an archive (zip, tar, tar.gz), which is unpacked first."""


def add(commands: Any) -> None:
    """Adds `datasets`."""
    parser = commands.add_parser(
        "datasets",
        help="list, show, fetch, verify or import data sets",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, carried_out_by: str, about: str, more: str = "") -> Any:
        call = by("pipeline.data.sources.commands", carried_out_by)
        sub = add_command(verbs, name, call, about, description=f"{about}.\n\n{more}")
        if name != "list":
            sub.add_argument("name", metavar="NAME", help="a data set, as `datasets list` names it")
        with_json(sub)
        return sub

    verb("list", "list_cards", "list the data sets, and say which are in place")
    verb("show", "show_card", "show a data set's card, whether it is in place, and what gets it")
    verb(
        "fetch",
        "fetch_images",
        "download a data set, check it, and put it in place",
        "Goes on where it broke off. Where a licence wants a form or a click, it prints what to do.",
    )
    verb(
        "verify",
        "verify_images",
        "check that a data set's images are all there, and as many as its card says",
        "exit codes: 0 all is as the card says; 1 something differs; 2 it is not in place",
    )
    taken = verb("import", "import_images", "take a data set from a folder that you have", IMPORT)
    taken.add_argument(
        "folder", type=Path, metavar="FOLDER", help="where its images are, or an archive of them"
    )
