"""Stages one and two under dg, and the domain flow: each image at its own t, points resumed one by one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pipeline.config import (
    AdapterSpec,
    BaseModelSpec,
    DomainsParams,
    FinetuneSettings,
    GridSettings,
    Guidance,
    PairParams,
)
from pipeline.core.errors import UserError
from pipeline.data.image_sets import load_labelled, load_unlabelled
from pipeline.diffusion.adapters import TerraAdapter
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune import stage as finetune
from pipeline.diffusion.finetune.domain_data import DomainsData
from pipeline.diffusion.generate import domain_flow, interpolate
from pipeline.diffusion.generate import stage as generate
from pipeline.diffusion.t_predictor.times import FILE, times_of, times_table, write_times
from pipeline.planning.kinds.finetune import FinetuneParams
from pipeline.planning.kinds.flow import FlowParams
from pipeline.planning.kinds.generate import GenerateParams
from pipeline.planning.kinds.interpolate import InterpolateParams
from pipeline.planning.kinds.sampling import InversionSettings
from tests.diffusion.stage_samples import Killed, killed_after, product, silent, sources_and_garbage

WORDS = ["zero", "one"]
SOURCES = ["A", "B", "C"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, and a target of garbage."""
    return sources_and_garbage(tmp_path_factory.mktemp("data"), SOURCES)


@pytest.fixture(scope="module")
def times(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A t-predictor's artifact: the domains around three corners."""
    folder, rng = tmp_path_factory.mktemp("times"), np.random.default_rng(1)
    corners = {"A": (0.0, 0.0), "B": (1.0, 0.0), "C": (0.0, 1.0)}
    tables = []
    for domain, corner in corners.items():
        names = load_unlabelled(data, domain, "train").names
        t = (np.array(corner) + 0.05 * rng.standard_normal((len(names), 2))).astype(np.float32)
        tables.append(times_table(domain, "train", names, t))
    write_times(folder / FILE, pd.concat(tables))
    return folder


@pytest.fixture(scope="module")
def params(sd15_folder: Path) -> FinetuneParams:
    return FinetuneParams(
        pair=None,
        domains=DomainsParams(sources=SOURCES, words=WORDS),
        base_model=BaseModelSpec(name=str(sd15_folder), resolution=64),
        adapter=AdapterSpec(form="cosine", t_dim=2, rank=2, alpha=2.0),
        settings=FinetuneSettings(
            steps=5, batch_size=2, learning_rate=1e-2, checkpoint_every=2, unconditional=0.5
        ),
        threads=1,
    )


@pytest.fixture(scope="module")
def adapter(
    tmp_path_factory: pytest.TempPathFactory, params: FinetuneParams, data: Path, times: Path
) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    finetune.run(params, {"data": data, "times": times}, folder, silent)
    return folder


def test_every_image_of_a_batch_has_its_own_t_label_and_domain(
    tmp_path: Path, params: FinetuneParams, data: Path, times: Path
) -> None:
    """Latents identify images; parts share noise and timesteps; dropped prompts are the empty one."""
    model = BaseModel.load(params.base_model)
    batches = DomainsData(model, params, params.domains, data, times, tmp_path)
    empty = model.embed([params.settings.target_prompt]).prompts[0]
    prompts = model.embed([f"A {word}" for word in WORDS]).prompts
    dropped = 0
    for step in range(6):
        batch, n = batches.batch(step), params.settings.batch_size
        assert torch.equal(batch.noise, batch.noise[:n].repeat(3, 1, 1, 1))
        assert torch.equal(batch.timesteps, batch.timesteps[:n].repeat(3))
        for place in range(3 * n):
            domain = SOURCES[place // n]
            images = load_labelled(data, domain, "train")
            encoded = model.encode(images.images)
            (which,) = [i for i, one in enumerate(encoded) if torch.equal(one, batch.clean[place])]
            expected = times_of(times, domain, "train", [images.names[which]])[0]
            assert np.array_equal(batch.condition[place].numpy(), expected)
            is_empty = torch.equal(batch.prompts.prompts[place], empty)
            dropped += is_empty
            assert is_empty or torch.equal(batch.prompts.prompts[place], prompts[images.labels[which]])
    assert 0 < dropped < 6 * 3 * n


def test_a_pooled_batch_has_images_of_all_domains_with_their_own_noise(
    tmp_path: Path, params: FinetuneParams, data: Path, times: Path
) -> None:
    settings = params.settings.model_copy(update={"pooled": True, "batch_size": 7, "unconditional": 0.0})
    pooled = params.model_copy(update={"settings": settings})
    model = BaseModel.load(params.base_model)
    batches = DomainsData(model, pooled, params.domains, data, times, tmp_path)
    known = {}
    for domain in SOURCES:
        images = load_labelled(data, domain, "train")
        own = times_of(times, domain, "train", images.names)
        for latent, t, label in zip(model.encode(images.images), own, images.labels, strict=True):
            known[latent.numpy().tobytes()] = domain, t, label
    prompts = model.embed([f"A {word}" for word in WORDS]).prompts
    counts = dict.fromkeys(SOURCES, 0)
    for step in range(20):
        batch = batches.batch(step)
        assert len(batch.clean) == 7
        assert len({one.numpy().tobytes() for one in batch.noise}) == 7
        for place in range(7):
            domain, t, label = known[batch.clean[place].numpy().tobytes()]
            assert np.array_equal(batch.condition[place].numpy(), t)
            assert torch.equal(batch.prompts.prompts[place], prompts[label])
            counts[domain] += 1
    assert min(counts.values()) > 30, "140 images over three domains of equal size"
    finetune.run(pooled, {"data": data, "times": times}, tmp_path / "run", silent)
    assert list(pd.read_csv(tmp_path / "run" / "losses.csv")) == ["step", "loss", "pooled_loss"]


def test_the_loss_curve_has_a_column_for_every_domain(adapter: Path) -> None:
    curve = pd.read_csv(adapter / "losses.csv")
    parts = [f"{domain}_loss" for domain in SOURCES]
    assert list(curve) == ["step", "loss", *parts]
    assert np.allclose(curve["loss"], curve[parts].mean(axis=1), rtol=1e-4)


def test_a_killed_fine_tuning_over_domains_ends_with_the_same_bytes(
    tmp_path: Path, params: FinetuneParams, data: Path, times: Path, adapter: Path
) -> None:
    inputs = {"data": data, "times": times}
    with pytest.raises(Killed):
        finetune.run(params, inputs, tmp_path, killed_after(3))
    finetune.run(params, inputs, tmp_path, silent)
    assert product(tmp_path) == product(adapter)


def test_an_image_without_a_t_is_named(
    tmp_path: Path, params: FinetuneParams, data: Path, times: Path
) -> None:
    lines = (times / FILE).read_text().splitlines()
    (tmp_path / FILE).write_text("\n".join(line for line in lines if ",B3," not in line) + "\n")
    with pytest.raises(UserError, match=r"no t of 1 of 8 images of B \(train\), such as B3"):
        finetune.run(params, {"data": data, "times": tmp_path}, tmp_path / "work", silent)


def sampling(params: FinetuneParams, **changes: object) -> dict[str, object]:
    return {
        "base_model": params.base_model,
        "guidance": Guidance(weight=2.0),
        "steps": 2,
        "batch_size": 3,
        "scale": 0.9,
        "source_prompt": "A {class}",
        "target_prompt": "An image",
        "seed": 0,
        "threads": 1,
    } | changes


def interpolation(params: FinetuneParams, start: str = "noise", **changes: object) -> InterpolateParams:
    grid = GridSettings(range=(0.0, 1.0), step=0.5, margin=0.2, points=3, per_class=2, start=start)
    inversion = InversionSettings(depth=0.8, refinements=0, statistics="noise")
    return InterpolateParams(
        domains=params.domains, grid=grid, inversion=inversion, **sampling(params, **changes)
    )


@pytest.mark.parametrize(("share", "start"), [(1.0, "noise"), (0.5, "noise"), (1.0, "source")])
def test_interpolated_domains_are_resumed_point_by_point(
    tmp_path: Path,
    params: FinetuneParams,
    data: Path,
    times: Path,
    adapter: Path,
    share: float,
    start: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The adapter is merged at the points in turn; after a kill, only at points that lack images."""
    merged: list[tuple[float, ...]] = []
    remerge = TerraAdapter.remerge

    def counted(self: TerraAdapter, t: list[float]) -> None:
        merged.append(tuple(t))
        remerge(self, t)

    monkeypatch.setattr(TerraAdapter, "remerge", counted)
    wanted = interpolation(params, start, guidance=Guidance(weight=2.0, content_scale=share))
    inputs = {"adapter": adapter, "times": times} | ({"data": data} if start == "source" else {})
    interpolate.run(wanted, inputs, tmp_path / "whole", silent)
    manifest = pd.read_csv(tmp_path / "whole" / "manifest.csv")
    inverted = manifest.groupby("t", sort=False)[
        "domain"
    ].nunique()  # at each point, each at its domain's own t
    # A guide with another share of the update takes turns with the denoiser: one merge a step, and the first.
    batches, steps = 2, wanted.steps
    of_a_point = 1 if share == 1 else 1 + batches * steps
    assert len(merged) == 3 * of_a_point + inverted.sum()
    merged.clear()
    with pytest.raises(Killed):
        interpolate.run(wanted, inputs, tmp_path / "cut", killed_after(5))
    merged.clear()
    interpolate.run(wanted, inputs, tmp_path / "cut", silent)
    of_half_a_point = 1 if share == 1 else 1 + steps
    assert len(merged) == of_half_a_point + of_a_point + inverted.iloc[1:].sum()
    assert product(tmp_path / "cut") == product(tmp_path / "whole")


def test_the_manifest_has_every_class_at_every_point(
    tmp_path: Path, params: FinetuneParams, times: Path, adapter: Path
) -> None:
    interpolate.run(interpolation(params), {"adapter": adapter, "times": times}, tmp_path, silent)
    manifest = pd.read_csv(tmp_path / "manifest.csv", dtype=str, keep_default_na=False)
    counts = manifest.groupby(["t", "label"]).size()
    assert len(counts) == 3 * 2
    assert (counts == 2).all()
    uses = manifest.groupby("seed")["t"].nunique()
    assert sorted(uses) == [1] * 3 * 2 + [3] * 2, "the first of each class from the same noise at every point"
    assert all(len(t.split()) == 2 for t in manifest["t"])
    same_noise = manifest[manifest["seed"] == manifest["seed"][0]]
    images = [np.asarray(Image.open(tmp_path / file), int) for file in same_noise["file"]]
    assert abs(images[0] - images[1]).max() > 1, "t changes what is made"


def test_images_from_sources_keep_their_labels_and_domains_take_turns(
    tmp_path: Path, params: FinetuneParams, data: Path, times: Path, adapter: Path
) -> None:
    """The first of each class is one source image at all points; the held-out domain is garbage, not read."""
    inputs = {"adapter": adapter, "times": times, "data": data}
    interpolate.run(interpolation(params, "source"), inputs, tmp_path, silent)
    manifest = pd.read_csv(tmp_path / "manifest.csv")
    for domain, rows in manifest.groupby("domain"):
        images = load_labelled(data, domain, "train")
        labels = dict(zip(images.names, images.labels, strict=True))
        assert [labels[name] for name in rows["source"]] == rows["label"].tolist()
    assert set(manifest["domain"]) == set(SOURCES)
    first = manifest.drop_duplicates(["t", "label"])
    assert len(first) == 3 * 2
    assert (first.groupby("label")["source"].nunique() == 1).all()


def test_at_scale_zero_an_interpolated_domain_is_the_base_models_own(
    tmp_path: Path, params: FinetuneParams, times: Path, adapter: Path
) -> None:
    """The points take the scales in turn; at scale 0 neither the adapter nor t has any effect."""
    wanted = interpolation(params)
    grid = wanted.grid.model_copy(update={"scales": [0.0, 1.0]})
    interpolate.run(
        wanted.model_copy(update={"grid": grid}), {"adapter": adapter, "times": times}, tmp_path, silent
    )
    manifest = pd.read_csv(tmp_path / "manifest.csv")
    assert manifest.drop_duplicates("t")["scale"].tolist() == [0.0, 1.0, 0.0]
    same_noise = manifest[manifest["seed"] == manifest["seed"][0]]["file"]
    first, second, third = (np.asarray(Image.open(tmp_path / file), int) for file in same_noise)
    assert abs(first - third).max() <= 1 < abs(first - second).max()


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, params: FinetuneParams, data: Path
) -> tuple[FlowParams, Path]:
    """A flow from A to B, and the fine-tuning that it needs."""
    pair = PairParams(source="A", target="B", words=WORDS)
    spec = AdapterSpec(rank=2, alpha=2.0)
    tuning = params.model_copy(update={"pair": pair, "domains": None, "adapter": spec})
    folder = tmp_path_factory.mktemp("pair")
    finetune.run(tuning, {"data": data}, folder, silent)
    inversion = InversionSettings(depth=0.8, refinements=0, statistics="target")
    wanted = FlowParams(pair=pair, inversion=inversion, examples=3, times=[0.0, 1.0], **sampling(params))
    return wanted, folder


def test_a_flow_takes_each_example_through_all_times(
    tmp_path: Path, data: Path, pair: tuple[FlowParams, Path]
) -> None:
    wanted, folder = pair
    domain_flow.run(wanted, {"data": data, "adapter": folder}, tmp_path, silent)
    manifest = pd.read_csv(tmp_path / "manifest.csv")
    assert manifest["t"].tolist() == [0.0] * 3 + [1.0] * 3
    assert manifest["source"][:3].tolist() == manifest["source"][3:].tolist()
    assert manifest["source"][:3].nunique() == 3
    assert set(manifest["style"]) <= set(load_unlabelled(data, "B", "train").names)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_at_t_one_a_flow_shows_the_adapted_images(
    tmp_path: Path, data: Path, pair: tuple[FlowParams, Path], share: float
) -> None:
    """Where no target image lends its statistics, for which one is drawn anew."""
    wanted, folder = pair
    changes = {
        "guidance": Guidance(weight=2.0, content_scale=share),
        "inversion": InversionSettings(depth=0.8, refinements=1, statistics="own"),
    }
    inputs = {"data": data, "adapter": folder}
    domain_flow.run(wanted.model_copy(update=changes), inputs, tmp_path / "flow", silent)
    same = wanted.model_copy(update=changes).model_dump(exclude={"examples", "times"})
    generate.run(
        GenerateParams(contents="adapted", per_class=None, words=WORDS, **same),
        inputs,
        tmp_path / "adapted",
        silent,
    )
    shown, adapted = (pd.read_csv(tmp_path / name / "manifest.csv") for name in ("flow", "adapted"))
    files = dict(zip(adapted["source"], adapted["file"], strict=True))
    for _, row in shown[shown["t"] == 1].iterrows():
        here, there = tmp_path / "flow" / row["file"], tmp_path / "adapted" / files[row["source"]]
        assert abs(np.asarray(Image.open(here), int) - np.asarray(Image.open(there), int)).max() <= 1
