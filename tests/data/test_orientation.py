"""Photos on their side: every stage reads a dataset as its card says, by default as papers' code does."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline import config
from pipeline.classify.training.transforms import Inputs
from pipeline.config import FolderCard, TrainSettings, read_card, resolve_card
from pipeline.config.cards import Orientation
from pipeline.data import prepare
from pipeline.data.image_files import ImageCache, pixels, random_square, read_resized, read_whole
from pipeline.data.image_sets import ImageSet, load_labelled
from pipeline.data.open_image import dataset_path
from pipeline.data.sources.importer import import_folder
from pipeline.planning.graph import make_plan
from pipeline.planning.kinds.prepare import PrepareParams
from tests.data.layout_samples import PACS, write_folders

SAMPLES = Path(__file__).parent / "upright_samples"


def quiet(*_: object) -> None:
    """Report nothing."""


def card_of(orientation: Orientation) -> FolderCard:
    card = read_card("pacs")
    assert isinstance(card, FolderCard)
    return card.model_copy(update={"orientation": orientation})


def photos(folder: Path, orientation: Orientation, sample: str) -> ImageSet:
    """The photos of PACS, as stages two and three load them; every file is the sample."""
    root = write_folders(folder / "pacs", read_card("pacs"), PACS)
    for image in root.rglob("*.*"):
        if image.is_file():
            shutil.copy(SAMPLES / sample, image)
    import_folder(read_card("pacs"), root, quiet)
    card, workspace = resolve_card(card_of(orientation)), folder / "artifact"
    workspace.mkdir()
    prepare.run(PrepareParams(card=card), {}, workspace, quiet)
    return load_labelled(workspace, "P", "train")


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, ImageSet]:
    """Photos on their side under both settings, and the same photos stored upright."""
    named: list[tuple[str, Orientation, str]] = [
        ("stored", "stored", "seven_phone.jpg"),
        ("turned", "upright", "seven_phone.jpg"),
        ("upright", "stored", "seven_upright.jpg"),
    ]
    made = {}
    for name, orientation, sample in named:
        monkeypatch.setenv("TERRABENCH_DATA", str(tmp_path / name / "data"))
        made[name] = photos(tmp_path / name, orientation, sample)
    return made


READERS = {
    "stage three": lambda path: read_resized(path, 24),
    "stage one, cached": lambda path: pixels(np.array([path], dtype=object), 24)[0],
    "stage one, fresh": lambda path: random_square(path, 24, 0.5),
    "grids": lambda path: read_whole(path, 24),
}


@pytest.mark.parametrize("reader", READERS)
def test_photos_are_turned_only_where_the_card_says_so(sets: dict[str, ImageSet], reader: str) -> None:
    read = {name: READERS[reader](images.take([3]).images[0]) for name, images in sets.items()}
    assert read["turned"].shape == read["upright"].shape
    assert np.abs(read["turned"].astype(int) - read["upright"]).mean() < 3  # two JPEGs of one picture
    if read["stored"].shape == read["upright"].shape:
        assert np.abs(read["stored"].astype(int) - read["upright"]).mean() > 20


def test_batches_of_stage_three_are_turned_and_the_cache_keeps_both(
    sets: dict[str, ImageSet], tmp_path: Path
) -> None:
    settings = TrainSettings(backbone="resnet18", iterations=1, crop="centre")
    inputs = Inputs(32, (0.5,) * 3, (0.5,) * 3, settings, tmp_path / "cache")
    for _ in range(2):  # the second time from the cache
        means = [next(iter(inputs.evaluation(sets[name]).batches(1)))[0] for name in ("turned", "upright")]
        assert (means[0] - means[1]).abs().mean() < 0.05
    phone = str(SAMPLES / "seven_phone.jpg")
    cache = ImageCache(tmp_path / "both", 24, 2**20)
    for _ in range(2):
        for orientation in ("stored", "upright"):
            path = dataset_path(phone, orientation)
            np.testing.assert_array_equal(cache(path), read_resized(path, 24))


def test_only_what_is_turned_has_other_keys() -> None:
    suite = config.read_suite("pacs")
    plans = {one: make_plan(suite, card_of(one), suite.base_model) for one in ("stored", "upright")}
    params = {name: plan.cells[0].job.params.model_dump() for name, plan in plans.items()}
    assert "orientation" not in params["stored"]
    assert "orientation" not in plans["stored"].jobs[0].params.model_dump()["card"]
    assert params["upright"]["orientation"] == "upright"
    assert not {job.key for job in plans["stored"].jobs} & {job.key for job in plans["upright"].jobs}
