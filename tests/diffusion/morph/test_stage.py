"""The jobs that make morphs: pairs of images between domains under dg, and the morphs of a suite."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.config import BaseModelSpec, DomainsParams, MorphSettings
from pipeline.data.image_files import image_files
from pipeline.data.image_sets import load_labelled
from pipeline.data.made_images import load_generated
from pipeline.diffusion.morph import interpolated_images, pair_loras
from pipeline.diffusion.morph import stage as morphs
from pipeline.diffusion.morph.pairs import choose_pairs
from pipeline.metrics import stage as job
from pipeline.planning.kinds.between import BetweenParams
from pipeline.planning.kinds.morphs import MorphsParams
from pipeline.planning.kinds.pair_loras import PairLorasParams
from pipeline.planning.kinds.score import ScoreParams
from tests.diffusion.stage_samples import Killed, killed_after, product, silent, sources_and_garbage

WORDS = ["zero", "one"]
MORPH = MorphSettings(
    tune_steps=1,
    batch_size=1,
    rank=1,
    steps=2,
    refinements=0,
    include=".*mid_block.*attn.*",
    learning_rate=1e-3,
)
PARAMETERS = {
    "domains": DomainsParams(sources=["A", "B"], words=WORDS),
    "base_model": BaseModelSpec(name="mini"),
    "pairs": 2,
    "prompt": "a {class}",
    "morph": MORPH,
    "threads": 1,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, and a target of garbage."""
    return sources_and_garbage(tmp_path_factory.mktemp("data"), "AB")


@pytest.fixture(scope="module")
def loras(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """What pair_loras makes."""
    folder = tmp_path_factory.mktemp("loras")
    pair_loras.run(PairLorasParams(**PARAMETERS), {"data": data}, folder, silent)
    return folder


def test_pairs_are_of_one_class_from_two_domains_and_of_training_images(data: Path) -> None:
    sources = {name: load_labelled(data, name, "train") for name in "AB"}
    pairs = choose_pairs(sources, classes=2, each=3, seed=0)
    assert len(pairs) == 3 * 2
    assert list(pairs["label"]) == [0, 1] * 3
    assert set(pairs["domain_x"]) == {"A"}
    assert set(pairs["domain_y"]) == {"B"}
    for row in pairs.itertuples():
        for domain, name in ((row.domain_x, row.x), (row.domain_y, row.y)):
            images = sources[domain]
            assert images.labels[images.names.index(name)] == row.label
    assert pairs["x"].is_unique
    assert pairs.equals(choose_pairs(sources, classes=2, each=3, seed=0))
    assert not pairs.equals(choose_pairs(sources, classes=2, each=3, seed=1))


def test_a_class_that_a_domain_lacks_has_no_pairs(data: Path) -> None:
    a, b = (load_labelled(data, name, "train") for name in "AB")
    pairs = choose_pairs({"A": a, "B": b.take(np.flatnonzero(b.labels == 1))}, classes=2, each=1, seed=0)
    assert list(pairs["label"]) == [1]


def test_each_pair_has_two_loras_and_the_losses_are_their_mean(loras: Path) -> None:
    assert len(pd.read_csv(loras / "pairs.csv")) == len(list((loras / "loras").iterdir())) == 4
    losses = pd.read_csv(loras / "losses.csv")
    assert list(losses) == ["step", "loss", "x_loss", "y_loss"]
    assert len(losses) == 1
    assert losses["loss"][0] == pytest.approx((losses["x_loss"][0] + losses["y_loss"][0]) / 2, rel=1e-4)


def test_pair_loras_go_on_where_they_were_killed_to_the_same_bytes(
    tmp_path: Path, data: Path, loras: Path
) -> None:
    with pytest.raises(Killed):
        pair_loras.run(PairLorasParams(**PARAMETERS), {"data": data}, tmp_path, killed_after(2))
    first = tmp_path / pair_loras.pair_file(0)
    written = first.stat().st_mtime_ns
    pair_loras.run(PairLorasParams(**PARAMETERS), {"data": data}, tmp_path, silent)
    assert first.stat().st_mtime_ns == written
    assert product(tmp_path) == product(loras)


@pytest.mark.parametrize("method", ["lora_interp", "diffmorpher"])
def test_images_between_domains_are_labelled_and_lie_between_the_two(
    method: str, tmp_path: Path, data: Path, loras: Path
) -> None:
    params = BetweenParams(method=method, frames=3, **PARAMETERS)
    with pytest.raises(Killed):
        interpolated_images.run(params, {"data": data, "loras": loras}, tmp_path / "cut", killed_after(1))
    for folder in ("cut", "whole"):
        interpolated_images.run(params, {"data": data, "loras": loras}, tmp_path / folder, silent)
    assert product(tmp_path / "cut") == product(tmp_path / "whole")
    made = load_generated(tmp_path / "whole")
    assert made.images.shape == (12, 32, 32, 3)
    assert list(made.labels) == [0, 0, 0, 1, 1, 1] * 2
    manifest = pd.read_csv(tmp_path / "whole" / "manifest.csv", dtype=str)
    assert list(manifest["t"][:3]) == ["0.25", "0.5", "0.75"]
    assert set(manifest["domain"]) == {"A"}
    assert set(manifest["other_domain"]) == {"B"}
    assert manifest["prompt"][3] == "a one"


KINDS = {"images": (True, False), "styles": (False, True), "subjects": (True, False)}
"""Whether the ends of a kind have one domain, and one class."""


@pytest.mark.parametrize("kind", KINDS)
def test_ends_of_a_kind_differ_in_what_it_morphs(kind: str) -> None:
    params = MorphsParams(
        kind=kind,
        method="ddim",
        domains=["A", "B"],
        words=WORDS,
        base_model=BaseModelSpec(name="mini"),
        pairs=20,
        several=2,
        frames=2,
        prompt="a {class}",
        morph=MORPH,
        seed=0,
        threads=1,
    )
    ends = morphs.draw_endpoints(params)
    one_domain, one_class = KINDS[kind]
    assert ((ends["domain_x"] == ends["domain_y"]) == one_domain).all()
    assert ((ends["label_x"] == ends["label_y"]) == one_class).all()
    assert ends[["domain_x", "label_x"]].drop_duplicates().shape[0] > 2
    other = params.model_copy(update={"method": "terra"})
    assert ends.equals(morphs.draw_endpoints(other))


@pytest.mark.parametrize("kind", ["images", "styles"])
def test_morphs_of_a_suite_are_made_once_and_scored(kind: str, tmp_path: Path, data: Path) -> None:
    params = MorphsParams(
        kind=kind,
        method="terra",
        domains=["A", "B"],
        words=WORDS,
        base_model=BaseModelSpec(name="mini"),
        pairs=2,
        several=2,
        frames=3,
        prompt="a {class}",
        morph=MORPH,
        seed=0,
        threads=1,
    )
    with pytest.raises(Killed):
        morphs.run(params, {"data": data}, tmp_path / "cut", killed_after(1))
    for folder in ("cut", "whole"):
        morphs.run(params, {"data": data}, tmp_path / folder, silent)
    assert product(tmp_path / "cut") == product(tmp_path / "whole")
    about = json.loads((tmp_path / "whole" / "000" / "about.json").read_text())
    assert about["method"] == "terra"
    assert ("psnr" in about) == (kind == "images")
    with Image.open(tmp_path / "whole" / "001" / "frame_002.png") as image:
        assert image.size == (32, 32)
    scores = ScoreParams(
        kind=kind, method="terra", domains=["A", "B"], distance="pixels", features="digits", threads=1
    )
    job.run(scores, {"data": data, "morphs": tmp_path / "whole"}, tmp_path / "score", silent)
    record = json.loads((tmp_path / "score" / "record.json").read_text())
    assert (record["sequences"], record["frames"], record["FID"]) == (2, 6, None)
    # Two styles of one class have one prompt, and one fine-tuning step leaves both ends' weights alike.
    assert (record["PPL"] > 0) == (kind == "images")
    assert record["KID"] is not None
    assert (record["psnr"] is None) == (kind == "styles")


def test_morphs_of_a_dataset_of_files_are_made_and_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its images are read as the base model reads them, for the PSNR and the reference too."""
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    images = image_files([tmp_path / f"{i}.png" for i in range(4)], np.array([0, 1, 0, 1]))
    for module in (morphs, job):
        monkeypatch.setattr(module, "load_labelled", lambda folder, domain, split: images)
    params = MorphsParams(
        kind="images",
        method="ddim",
        domains=["A"],
        words=WORDS,
        base_model=BaseModelSpec(name="mini"),
        pairs=1,
        several=2,
        frames=2,
        prompt="a {class}",
        morph=MORPH,
        seed=0,
        threads=1,
    )
    morphs.run(params, {"data": tmp_path}, tmp_path / "morphs", silent)
    scores = ScoreParams(
        kind="images", method="ddim", domains=["A"], distance="pixels", features="digits", threads=1
    )
    job.run(scores, {"data": tmp_path, "morphs": tmp_path / "morphs"}, tmp_path / "score", silent)
    record = json.loads((tmp_path / "score" / "record.json").read_text())
    assert record["reference"] == 4
    assert record["KID"] is not None
    assert record["psnr"] > 5
