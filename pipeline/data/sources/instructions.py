"""Tell the user how to get a dataset of files. Imports neither numpy nor pandas."""

from pipeline.config import FolderCard, data_folder
from pipeline.core.paths import PROGRAM
from pipeline.core.text import one_line


def commands(card: FolderCard) -> str:
    """Name the commands that get a dataset: `fetch` only if a source can be fetched."""
    take = f"datasets import {card.name} FOLDER"
    if not any(source.automatic for source in card.sources):
        return f"{PROGRAM} {take}"
    return f"{PROGRAM} datasets fetch {card.name}, or, if you have it, {take}"


def not_in_place(card: FolderCard) -> str:
    """Say that the dataset is not imported, and name the commands that get it."""
    return (
        f"{card.name} is not in {data_folder(card.name)}: {commands(card)} "
        "(set $TERRABENCH_DATA if your datasets are elsewhere)"
    )


def manual_steps(card: FolderCard) -> str:
    """Describe what a human can do to get the images of `card`."""
    sources = []
    for source in card.sources:
        files = ", ".join(archive.name for archive in source.archives)
        address = source.page or next((archive.url for archive in source.archives if archive.url), "")
        steps = " ".join(source.steps.split()) or (f"Download {files}." if files else "")
        sources.append(
            f"  {one_line(source.by)}"
            + (f": {one_line(address)}" if address else "")
            + (f"\n    {steps}" if steps else "")
        )
    return (
        f"By hand, in order of preference:\n{chr(10).join(sources)}\n"
        f"then: {PROGRAM} datasets import {card.name} FOLDER_OR_ARCHIVE"
    )
