"""Domain generalisation: what is held out, what a batch is made of, and what never reaches training."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.classify.training.batches import MemoryPool
from pipeline.classify.training.dg_batches import DomainBatches, split_domain
from pipeline.classify.training.stage import _make_loop
from pipeline.config import TrainSettings
from pipeline.core.errors import UserError
from pipeline.data.image_sets import DomainArrays, load_labelled, save_domain
from tests.classify.train_samples import CLASSES, domain, killed_and_resumed, parameters, products

Make = Callable[..., Path]

DG = {"setting": "dg", "sources": ["S", "U"], "target": "T"}
METHODS = ["ERM", "CORAL", "GroupDRO", "MIRO", "SAGM"]


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("domains")
    save_domain(folder, "S", domain(64, False, 1))
    save_domain(folder, "U", domain(50, True, 4))
    return folder


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    holdout=st.floats(0.05, 0.95),
    name=st.sampled_from("SU"),
    protocol=st.sampled_from(["plain", "domainbed"]),
)
def test_the_held_out_part_is_disjoint_and_the_rest_of_the_domain(
    domains: Path, seed: int, holdout: float, name: str, protocol: str
) -> None:
    given = TrainSettings(backbone="digits_cnn", iterations=1, holdout=holdout, protocol=protocol)
    kept, held = split_domain(domains, name, given, seed)
    whole = load_labelled(domains, name, "train").names + load_labelled(domains, name, "test").names
    assert not set(kept.names) & set(held.names)
    assert sorted(kept.names + held.names) == sorted(whole)
    assert len(held) == (round if protocol == "plain" else int)(holdout * len(whole))
    again = split_domain(domains, name, given, seed)
    assert (again[0].names, again[1].names) == (kept.names, held.names)


def test_the_split_depends_on_the_seed_and_the_domain_alone(prepared: Make, tmp_path: Path) -> None:
    data = prepared()

    def held_out(**changes: object) -> dict[str, bytes]:
        params = parameters(**DG | changes)
        pools = _make_loop(params, data, {}, tmp_path / "none").evaluated.held_out
        return {
            name: pool.images().numpy().tobytes() for name, pool in zip(params.sources, pools, strict=True)
        }

    whole = held_out()
    for method in METHODS:
        assert held_out(method=method) == whole
    assert held_out(batch_size=3, iterations=99, averaging="swad") == whole
    assert held_out(sources=["T", "S"], target="U")["S"] == whole["S"]
    assert held_out(seed=1)["S"] != whole["S"]


def test_nothing_left_or_nothing_held_out_is_refused(domains: Path) -> None:
    with pytest.raises(UserError, match=r"train\.holdout 0\.001 of the 64 images of domain S is 0; "):
        split_domain(domains, "S", TrainSettings(backbone="digits_cnn", iterations=1, holdout=0.001), 0)


def test_a_batch_has_as_many_images_of_each_domain() -> None:
    def pool(label: int, count: int) -> MemoryPool:
        return MemoryPool(torch.full((count, 1, 1, 3, 2, 2), float(label)), torch.full((count,), label))

    plain = DomainBatches((pool(0, 7), pool(1, 2)), None, 0.3)
    images, labels = plain.batch(step=3, size=4, seed=0)
    assert labels.tolist() == [0] * 4 + [1] * 4
    assert images[:, 0, 0, 0].tolist() == labels.tolist()
    domains, weights = plain.groups(4)
    assert domains.tolist() == labels.tolist()
    assert weights is None
    mixed = DomainBatches((pool(0, 7), pool(1, 2)), pool(2, 9), 0.3)
    assert mixed.batch(3, 4, 0)[1].tolist() == mixed.groups(4)[0].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert mixed.groups(4)[1].tolist() == pytest.approx([1.0] * 8 + [0.3] * 4)


@pytest.mark.parametrize("method", METHODS)
def test_the_domain_held_out_never_reaches_training(train: Make, prepared: Make, method: str) -> None:
    right, garbage = prepared("right"), prepared("garbage")
    noise = np.random.default_rng(9).integers(0, 256, size=(60, 32, 32, 3), dtype=np.uint8)
    as_it_was = domain(60, True, 2)
    labels = np.random.default_rng(9).integers(len(CLASSES), size=60)
    save_domain(garbage, "T", DomainArrays(noise, labels, as_it_was.split, as_it_was.names))
    choice = {"method": method, "iterations": 5, "evaluate_every": 2, "selections": ["source", "oracle"]} | DG
    one, other = (products(train({"data": data}, **choice)) for data in (right, garbage))
    assert one["model.safetensors"] == other["model.safetensors"]
    assert one["history.csv"] == other["history.csv"]
    assert one["features.npz"] != other["features.npz"]  # which shows the target


@pytest.mark.parametrize("method", METHODS)
def test_killed_and_run_again_gives_the_same_bytes(
    tmp_path: Path, train: Make, prepared: Make, generated: Make, method: str
) -> None:
    inputs = {"data": prepared(), "base": generated("base")}
    choice = {"method": method, "augmentation": "base", "made_weight": 0.5, "batch_size": 4} | DG
    whole = products(train(inputs, **choice))
    assert killed_and_resumed(choice, inputs, tmp_path / "killed", 8) == whole
    (record,) = json.loads(whole["records.json"])
    assert (record["setting"], record["task"], record["method"]) == ("dg", "->T", method)


def test_made_images_enter_with_their_weight(train: Make, prepared: Make, generated: Make) -> None:
    inputs = {"data": prepared(), "base": generated("base")}
    models = {
        weight: products(train(inputs, augmentation="base", made_weight=weight, **DG))["model.safetensors"]
        for weight in (1.0, 0.1)
    }
    assert models[1.0] != models[0.1]


def test_the_source_selection_goes_by_the_mean_over_domains(prepared: Make, tmp_path: Path) -> None:
    loop = _make_loop(parameters(**DG), prepared(), {}, tmp_path / "none")
    loop.network.head.weight.data.zero_()
    loop.network.head.bias.data.copy_(torch.tensor([1.0, 0.0, 0.0]))  # it says `left` of everything
    row = loop._evaluate(loop.evaluated)
    shares = [(pool.labels == 0).double().mean().item() for pool in loop.evaluated.held_out]
    assert len({len(pool) for pool in loop.evaluated.held_out}) == 2
    assert row["source_accuracy"] == pytest.approx(100 * sum(shares) / 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "MCC"} | DG, "method MCC adapts to the target's images, which setting dg.*CORAL, ERM"),
        ({"method": "CORAL"}, "method CORAL compares source domains, and setting uda has one"),
        ({"method": "GroupDRO"}, "method GroupDRO compares source domains"),
        ({"method": "CORAL", "batch_size": 1} | DG, "method CORAL: train.batch_size must be at least 2"),
    ],
)
def test_refused_in_words(train: Make, prepared: Make, changes: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        train({"data": prepared()}, **changes)
