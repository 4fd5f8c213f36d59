"""The protocol of DomainBed's code: what is scored, held out, drawn, and evaluated when."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.classify.evaluation.selection import Evaluation, TargetLabels, target_predictions
from pipeline.classify.training.batches import MemoryPool
from pipeline.classify.training.dg_batches import DomainBatches
from pipeline.classify.training.stage import _make_loop
from pipeline.config import read_suite
from pipeline.core.errors import UserError
from pipeline.core.paths import ROOT
from pipeline.core.seeds import derive
from pipeline.data.image_sets import DomainArrays, load_whole, save_domain
from pipeline.data.made_images import load_generated
from tests.classify.train_samples import CLASSES, domain, killed_and_resumed, parameters, products

Make = Callable[..., Path]

DG = {"setting": "dg", "sources": ["S", "U"], "target": "T", "protocol": "domainbed", "batch_size": 4}


def test_the_oracle_chooses_by_other_images_than_those_that_are_scored() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(3, size=50)
    places = random.permutation(50)
    target = TargetLabels(labels, places[10:], places[:10])
    evaluations = [
        Evaluation(step, 0.0, torch.from_numpy(random.random((50, 3))).softmax(1)) for step in range(30)
    ]
    found, predictions = target_predictions(target, ["last", "oracle"], evaluations)
    assert found.tolist() == labels[places[10:]].tolist()
    right = [(np.asarray(one.probabilities).argmax(1) == labels) for one in evaluations]
    by_few = [sum(one[places[:10]]) for one in right]
    best = max(step for step in range(30) if by_few[step] == max(by_few))
    assert best != max(range(30), key=lambda step: sum(right[step][places[10:]]))
    assert (predictions["oracle"] == found).tolist() == right[best][places[10:]].tolist()
    assert (predictions["last"] == found).tolist() == right[29][places[10:]].tolist()


def test_the_larger_part_of_the_target_is_scored(train: Make, prepared: Make) -> None:
    data = prepared()
    workspace = train({"data": data}, iterations=11, evaluate_every=5, selections=["last", "oracle"], **DG)
    whole = load_whole(data, "T").labels
    order = np.random.default_rng(derive(0, "holdout", "T")).permutation(60)
    with np.load(workspace / "predictions.npz") as arrays:
        assert arrays["labels"].tolist() == whole[order[12:]].tolist()
        right = 100 * (arrays["labels"] == arrays["last.predicted"]).mean()
    record, _ = json.loads((workspace / "records.json").read_text())
    assert record["accuracy"] == pytest.approx(right)
    rows = csv.DictReader(io.StringIO((workspace / "history.csv").read_text()))
    assert [int(row["iteration"]) for row in rows if row["source_accuracy"]] == [1, 6, 11]


def test_a_share_of_made_images_is_held_out_and_counts_as_a_domain(
    prepared: Make, generated: Make, tmp_path: Path
) -> None:
    made = load_generated(generated("base", each=7))
    loop = _make_loop(parameters(augmentation="base", **DG), prepared(), {"base": made}, tmp_path / "none")
    assert [len(pool) for pool in loop.evaluated.held_out] == [64 // 5, 50 // 5, 21 // 5]
    entering, held = loop.labelled.made, loop.evaluated.held_out[-1]
    assert len(entering) == 17
    everything = torch.cat([entering.images(), held.images()]).flatten(1).unique(dim=0)
    assert len(everything) == 21
    loop.network.head.weight.data.zero_()
    loop.network.head.bias.data.copy_(torch.tensor([1.0, 0.0, 0.0]))  # it says `left` of everything
    shares = [(pool.labels == 0).double().mean().item() for pool in loop.evaluated.held_out]
    assert loop._evaluate(loop.evaluated)["source_accuracy"] == pytest.approx(100 * sum(shares) / 3)


def test_images_are_drawn_with_replacement() -> None:
    """Uniformly, each on its own: counts of 40,000 draws of 20 images are within 5 standard deviations."""
    pool = MemoryPool(torch.zeros(20, 1, 1, 3, 2, 2), torch.zeros(20, dtype=torch.int64))
    batches = DomainBatches((pool, pool), None, 1.0, replacement=True)
    draws = [batches.chosen(step, 10, seed=3) for step in range(4000)]
    for domain_draws in zip(*draws, strict=True):
        counts = np.bincount(np.concatenate(domain_draws), minlength=20)
        assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000 * 0.95)
        assert len(set(np.concatenate(domain_draws[:2]))) < 20  # else it is a permutation
    assert not np.array_equal(draws[0][0], draws[0][1])
    assert np.array_equal(draws[7][1], batches.chosen(7, 10, seed=3)[1])


def test_the_domain_held_out_never_reaches_training(train: Make, prepared: Make) -> None:
    right, garbage = prepared("right"), prepared("garbage")
    noise = np.random.default_rng(9).integers(0, 256, size=(60, 32, 32, 3), dtype=np.uint8)
    as_it_was = domain(60, True, 2)
    labels = np.random.default_rng(9).integers(len(CLASSES), size=60)
    save_domain(garbage, "T", DomainArrays(noise, labels, as_it_was.split, as_it_was.names))
    choice = {"iterations": 5, "evaluate_every": 2, "selections": ["source", "oracle"]} | DG
    one, other = (products(train({"data": data}, **choice)) for data in (right, garbage))
    assert one["model.safetensors"] == other["model.safetensors"]
    assert one["history.csv"] == other["history.csv"]
    assert one["predictions.npz"] != other["predictions.npz"]


def test_killed_and_run_again_gives_the_same_bytes(
    tmp_path: Path, train: Make, prepared: Make, generated: Make
) -> None:
    inputs = {"data": prepared(), "base": generated("base")}
    swad = {"averaging": "swad", "swad": {"valley": "authors"}, "evaluate_every": 1, "iterations": 14}
    choice = {"augmentation": "base"} | swad | DG
    whole = products(train(inputs, **choice))
    assert killed_and_resumed(choice, inputs, tmp_path / "killed", 4, 8) == whole


def test_the_papers_suites_state_it_and_uda_refuses_it(tmp_path: Path) -> None:
    for name in ("office_home_dg", "pacs"):
        train = read_suite(ROOT / "benchmarks" / f"{name}.yaml").train
        assert (train.protocol, train.iterations, train.evaluate_every) == ("domainbed", 5001, 100)
    suite = tmp_path / "mine.yaml"
    suite.write_text("extends: digits_smoke\nname: mine\ntrain: {protocol: domainbed}\n")
    with pytest.raises(UserError, match=r"train\.protocol: domainbed is for setting dg alone; leave it out"):
        read_suite(suite)
    suite.write_text("extends: pacs\nname: mine\nmethods: [ERM, CLIP]\n")
    with pytest.raises(
        UserError, match=r"method CLIP is scored on all of the target's images, and train\.pro"
    ):
        read_suite(suite)
