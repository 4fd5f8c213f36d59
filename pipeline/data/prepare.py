"""The `prepare` stage: makes every domain of a dataset card and refuses one that is not what the card says.

Data sets whose images are files are another matter: see pipeline.data.prepare_files.

`python -m pipeline.data.prepare CARD` prints the counts and hashes that a card should state.
"""

import sys
from importlib.metadata import version
from pathlib import Path

from pipeline.config import BuiltCard, FolderCard, nearest, read_card
from pipeline.core.errors import UserError
from pipeline.core.stage import Progress
from pipeline.data.digits import build as digits
from pipeline.data.image_sets import DomainArrays, domain_sha256, save_domain
from pipeline.data.prepare_files import prepare_files
from pipeline.planning.kinds.prepare import PrepareParams

BUILDERS = {"digits": digits}
"""Modules with CLASSES, SIZE, DOMAINS, PACKAGES (by domain), and build(domain, seed) -> DomainArrays."""


def run(params: PrepareParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Writes the domains of `params.card` into `workspace`; UserError for one made here that differs from its card.

    What is made here takes seconds, so a run that was cut off is simply done again, with the same bytes.
    """
    card = params.card
    if isinstance(card, FolderCard):
        prepare_files(card, workspace, progress)
        return
    _check_card(card)
    for done, domain in enumerate(card.domains):
        progress(done, len(card.domains), f"{card.name} {domain}")
        arrays = BUILDERS[card.builder].build(domain, card.seed)
        _check_domain(card, domain, arrays)
        save_domain(workspace, domain, arrays)
    progress(len(card.domains), len(card.domains), card.name)


def describe(card: BuiltCard) -> str:
    """The counts and hashes of the domains of `card` as they are on this machine: YAML for its `domains`."""
    _check_card(card)
    lines = ["domains:"]
    for domain in card.domains:
        arrays = BUILDERS[card.builder].build(domain, card.seed)
        lines += [f"  {domain}:"] + [f"    {field}: {value}" for field, value in _facts(arrays).items()]
    return "\n".join(lines)


def _facts(arrays: DomainArrays) -> dict[str, int | str]:
    """What a card states of a domain, as found."""
    return {
        "train": arrays.count("train"),
        "test": arrays.count("test"),
        "sha256": domain_sha256(arrays.digests()),
    }


def _check_card(card: BuiltCard) -> None:
    """That the builder can make what the card asks for."""
    builder = BUILDERS[card.builder]
    where = f"datasets/{card.name}.yaml"
    for domain in card.domains:
        if domain not in builder.DOMAINS:
            there = nearest(domain, builder.DOMAINS)
            raise UserError(f"{where}, domains: no domain {domain!r} can be made; {there}")
    if card.classes != builder.CLASSES:
        raise UserError(f"{where}, classes: {card.builder} has, in this order, {', '.join(builder.CLASSES)}")
    if card.image_size != builder.SIZE:
        raise UserError(f"{where}, image_size: {card.builder} has {builder.SIZE}, not {card.image_size}")


def _check_domain(card: BuiltCard, domain: str, arrays: DomainArrays) -> None:
    """That a domain has the counts and the content that its card states."""
    for field, found in _facts(arrays).items():
        expected = getattr(card.domains[domain], field)
        if found == expected:
            continue
        packages = BUILDERS[card.builder].PACKAGES[domain]
        installed = ", ".join(f"{package} {version(package)}" for package in packages)
        raise UserError(
            f"domain {domain} of {card.name}: {field} is {found}, but datasets/{card.name}.yaml says "
            f"{expected}; it was made with {installed}: install the versions that setup.cfg names "
            "(pip install -e .), or, if it is meant to differ, put what "
            f"`python -m pipeline.data.prepare {card.name}` prints into the card"
        )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m pipeline.data.prepare CARD     (a name under datasets/, such as digits)")
    try:
        asked = read_card(sys.argv[1])
        if not isinstance(asked, BuiltCard):
            raise UserError(f"{asked.name} is not made here: see run_benchmark.py datasets show {asked.name}")
        print(describe(asked))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
