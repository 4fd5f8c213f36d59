"""The `prepare` stage: build every domain of a dataset card, and refuse a domain that differs from its card.

Datasets whose images are files are prepared by pipeline.data.prepare_files.

`python -m pipeline.data.prepare CARD` prints the counts and hashes that a card should state.
"""

import sys
from importlib.metadata import version
from pathlib import Path

from pipeline.config import BuiltCard, FolderCard, nearest, read_card
from pipeline.core.errors import UserError
from pipeline.core.paths import PROGRAM
from pipeline.core.stage import Progress
from pipeline.data.digits import build as digits
from pipeline.data.image_sets import DomainArrays, domain_sha256, save_domain
from pipeline.data.prepare_files import prepare_files
from pipeline.planning.kinds.prepare import PrepareParams

BUILDERS = {"digits": digits}
"""Modules with CLASSES, SIZE, DOMAINS, PACKAGES (by domain), and build(domain, seed) -> DomainArrays."""


def run(params: PrepareParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Write the domains of `params.card` into `workspace`.

    A dataset that this project builds takes seconds, so an interrupted build starts afresh and ends with the
    same bytes.

    Raises:
        UserError: A built domain differs from its card, or the files of a dataset are absent or unusable.
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
    """Build the domains of `card`, and return their counts and hashes as YAML for the card's `domains`."""
    _check_card(card)
    lines = ["domains:"]
    for domain in card.domains:
        arrays = BUILDERS[card.builder].build(domain, card.seed)
        lines += [f"  {domain}:"] + [f"    {field}: {value}" for field, value in _facts(arrays).items()]
    return "\n".join(lines)


def _facts(arrays: DomainArrays) -> dict[str, int | str]:
    """Compute the fields that a card states about a domain."""
    return {
        "train": arrays.count("train"),
        "test": arrays.count("test"),
        "sha256": domain_sha256(arrays.digests()),
    }


def _check_card(card: BuiltCard) -> None:
    """Check that the builder can build the domains, classes and size that the card states."""
    builder = BUILDERS[card.builder]
    where = f"datasets/{card.name}.yaml"
    for domain in card.domains:
        if domain not in builder.DOMAINS:
            raise UserError(
                f"{where}, domains: no domain {domain!r} can be built; {nearest(domain, builder.DOMAINS)}"
            )
    if card.classes != builder.CLASSES:
        raise UserError(f"{where}, classes: {card.builder} has, in this order, {', '.join(builder.CLASSES)}")
    if card.image_size != builder.SIZE:
        raise UserError(f"{where}, image_size: {card.builder} has {builder.SIZE}, not {card.image_size}")


def _check_domain(card: BuiltCard, domain: str, arrays: DomainArrays) -> None:
    """Check that a domain has the counts and the hash that its card states."""
    for field, found in _facts(arrays).items():
        expected = getattr(card.domains[domain], field)
        if found == expected:
            continue
        packages = BUILDERS[card.builder].PACKAGES[domain]
        installed = ", ".join(f"{package} {version(package)}" for package in packages)
        raise UserError(
            f"domain {domain} of {card.name}: {field} is {found}, but datasets/{card.name}.yaml says "
            f"{expected}; it was built with {installed}. Install the versions that setup.cfg names "
            "(pip install -e .), or, if the difference is intended, copy the output of "
            f"`python -m pipeline.data.prepare {card.name}` into the card"
        )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(
            "usage: python -m pipeline.data.prepare CARD     (a name under datasets/, for example digits)"
        )
    try:
        requested = read_card(sys.argv[1])
        if not isinstance(requested, BuiltCard):
            raise UserError(
                f"{requested.name} consists of files and is not built here: see "
                f"{PROGRAM} datasets show {requested.name}"
            )
        print(describe(requested))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
