"""Read the images of a dataset that an installed Python package brings."""

from pathlib import Path

from pipeline.config.cards import FolderCard, PackageTable
from pipeline.config.packages import file_below, module_folder
from pipeline.core.errors import UserError
from pipeline.data.image_sets import BOTH
from pipeline.data.sources.scan import FoundImage, Layout


def images_of_package(card: FolderCard, source: PackageTable) -> tuple[Path, Layout]:
    """Find the images that the table of an installed package lists.

    Returns:
        The folder of the package's module, and its images, each for training and for testing.

    Raises:
        UserError: The package is not installed; or a line of the table is not as the card says, or names an
            image that is not there.
    """
    folder = module_folder(source.module, source.install)
    table = file_below(folder, source.table)
    labels = {name: label for label, name in enumerate(card.classes)}
    images = []
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        words = line.split()
        if len(words) != len(source.columns):
            raise UserError(f"{table}, line {number}: {len(words)} words, expected {len(source.columns)}")
        row: dict[str, str] = dict(zip(source.columns, words, strict=True))
        for column, known in (("domain", source.domains), ("class", source.classes)):
            if row[column] not in known:
                raise UserError(
                    f"{table}, line {number}: {column} {row[column]!r} is not in the card of {card.name}; "
                    f"it knows {', '.join(known)}"
                )
        path = file_below(table.parent, row["path"])
        images.append(
            FoundImage(source.domains[row["domain"]], labels[source.classes[row["class"]]], BOTH, path)
        )
    return folder, Layout(f"the table {source.table} of the package {source.module}", images)
