"""SWAD: start and end against the rule worked by hand, and the average against the iterates that it names."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pipeline.classify.training.stage import _make_loop
from pipeline.classify.training.swad import Averaging, estimate_statistics
from pipeline.classify.training.valley import Valley, choose, find_valley
from pipeline.config import Swad, TrainSettings
from pipeline.core.reproducibility import reproducible
from tests.classify.train_samples import ignore, killed_and_resumed, parameters, products

Make = Callable[..., Path]

RULE = Swad()
NARROW = Swad(n_converge=2, n_tolerance=2, tolerance_ratio=0.5)

CURVES = {
    # The first loss that the two after it do not undercut is the 1.0 of evaluation 2; the threshold is
    # 1.3 * (1.0 + 1.1 + 1.2) / 3 = 1.43. Above it are evaluations 6 to 11, six of them: the end is evaluation
    # 5.
    "valley": ([3, 2, 1, 1.1, 1.2, 1.4, 1.5, 1.6, 2, 2, 2, 2], RULE, Valley(2, 5)),
    # The same, but the sixth high loss has not come: it lasts.
    "valley that lasts": ([3, 2, 1, 1.1, 1.2, 1.4, 1.5, 1.6, 2, 2, 2], RULE, Valley(2, None)),
    # It rises from the start: evaluation 0 is the least; 1.3 * (1 + 2 + 3) / 3 = 2.6, and evaluations 2 to 7
    # are above, but 1 is not: the "valley" is evaluations 0 and 1.
    "no valley": ([1, 2, 3, 4, 5, 6, 7, 8], RULE, Valley(0, 1)),
    # Equal losses: the first of equals is the least. Nothing is ever above.
    "plateau": ([2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], RULE, Valley(1, None)),
    # 1.5 * (1.0 + 1.2) / 2 = 1.65. Evaluations 3 and 4 are above it: the end is evaluation 2, the earliest.
    "early death": ([2, 1, 1.2, 1.7, 9, 0.1, 0.1], NARROW, Valley(1, 2)),
    # A single loss above the threshold between lower ones ends nothing.
    "a bump": ([2, 1, 1.2, 9, 1.2, 9, 1.2], NARROW, Valley(1, None)),
    # Every loss is undercut by one of the two after it.
    "never converged": ([9, 8, 7, 6, 5, 4, 3, 2, 1], RULE, None),
    "never converged, unevenly": ([5, 6, 4, 5, 3, 4, 2], RULE, None),
    "too few": ([1, 2], RULE, None),
    # n_tolerance below n_converge: 1.0 * (1 + 1 + 4) / 3 = 2; evaluation 3 is above it, the end is evaluation
    # 2.
    "impatient": ([1, 1, 4, 3], Swad(n_converge=3, n_tolerance=1, tolerance_ratio=0), Valley(0, 2)),
}


@pytest.mark.parametrize("name", CURVES)
def test_start_and_end_by_hand(name: str) -> None:
    losses, rule, expected = CURVES[name]
    assert find_valley(losses, rule) == expected


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("every", [1, 3])
def test_the_average_is_the_mean_of_the_iterates_it_names(name: str, every: int) -> None:
    """Fed step by step as the loop does, and at every second evaluation taken from a checkpoint."""
    losses, rule, expected = CURVES[name]
    network = nn.Linear(3, 2)
    random = torch.Generator().manual_seed(0)
    averaging, iterates = Averaging(network, rule), []
    for evaluation, loss in enumerate(losses):
        for _ in range(every):
            with torch.no_grad():
                network.weight.copy_(torch.randn(2, 3, generator=random))
            iterates.append(network.weight.detach().double().clone())
            averaging.add()
            if evaluation % 2:
                tensors, about = json_copy(averaging.state())
                averaging = Averaging(network, rule)
                averaging.load(tensors, about)
        averaging.close_segment(len(iterates), loss)
        assert len(averaging.segments) <= max(rule.n_converge, rule.n_tolerance)
        if averaging.ended:
            break
    last = network.weight.detach().clone()
    told = averaging.finish()
    if expected is None:
        assert told == {"converged": False, "first": len(iterates), "last": len(iterates), "iterates": 1}
        assert torch.equal(network.weight, last)
        return
    end = len(losses) - 1 if expected.end is None else expected.end
    first, stop = expected.start * every, (end + 1) * every
    assert told == {"converged": True, "first": first + 1, "last": stop, "iterates": stop - first}
    mean = sum(iterates[first:stop]) / (stop - first)
    torch.testing.assert_close(network.weight.double(), mean, atol=1e-6, rtol=0)


def json_copy(state: tuple[dict, dict]) -> tuple[dict, dict]:
    tensors, about = state
    return {name: tensor.clone() for name, tensor in tensors.items()}, json.loads(json.dumps(about))


GOLDEN = json.loads((Path(__file__).parents[2] / "reference/swad/curves.json").read_text())
"""What the authors' code averages on 100 curves of losses: see README.md beside it."""


def test_the_authors_rule_gives_the_iterates_their_weights() -> None:
    """The iterate of step i is the unit vector e_i, so that the average is the weight of every iterate."""
    for number, curve in enumerate(GOLDEN):
        names = ("n_converge", "n_tolerance", "tolerance_ratio")
        rule = Swad(valley="authors", **{name: curve[name] for name in names})
        lengths = [1] + [3] * (len(curve["losses"]) - 1)
        network = nn.Linear(sum(lengths), 1, bias=False).double()
        averaging, step = Averaging(network, rule), 0
        for loss, length in zip(curve["losses"], lengths, strict=True):
            for _ in range(length):
                with torch.no_grad():
                    network.weight.zero_()[0, step] = 1
                averaging.add()
                step += 1
            averaging.close_segment(step, loss)
            tensors, about = json_copy(averaging.state())
            averaging = Averaging(network, rule)
            averaging.load(tensors, about)
            assert len(averaging.segments) <= max(rule.n_converge, rule.n_tolerance) + 1
            if averaging.ended:
                break
        assert len(averaging.losses) == curve["evaluations"], number
        assert averaging.finish()["converged"] == curve["converged"], number
        weights = network.weight[0, :step].split(lengths[: curve["evaluations"]])
        found = torch.stack([weight.sum() for weight in weights])
        expected = torch.tensor(curve["weights"], dtype=torch.float64)
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=0, msg=f"curve {number}")


def test_the_two_rules_name_different_iterates() -> None:
    curve = GOLDEN[0]
    finals = [
        choose(curve["losses"], Swad(valley=valley)).final  # type: ignore[arg-type]
        for valley in ("paper", "authors")
    ]
    assert finals[0] is not None
    assert finals[1] is not None
    assert len(set(finals[0])) == len(finals[0])
    assert sorted(finals[0]) != sorted(finals[1])


def test_the_paper_s_rule_keeps_the_key_of_a_training() -> None:
    assert "valley" not in Swad().model_dump()
    assert Swad(valley="authors").model_dump()["valley"] == "authors"


def test_statistics_are_the_means_over_the_batches_and_frozen_ones_stay() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2).eval())
    network[0].running_mean += 7
    network[1].running_mean += 5
    batches = [torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([[0.0, 1.0], [4.0, 1.0]])]
    estimate_statistics(network, batches)
    torch.testing.assert_close(network[0].running_mean, torch.tensor([2.0, 2.25]))
    torch.testing.assert_close(network[0].running_var, torch.tensor([5.0, 2.25]))
    assert network[0].momentum == 0.1
    assert network[1].running_mean.tolist() == [5, 5]


SETTINGS = {
    "averaging": "swad",
    "evaluate_every": 2,
    "iterations": 18,
    "selections": ["last", "source", "oracle"],
}


@pytest.mark.parametrize("setting", [{}, {"setting": "dg", "sources": ["S", "U"], "method": "SAGM"}])
def test_killed_and_run_again_gives_the_same_bytes(
    tmp_path: Path, train: Make, prepared: Make, setting: dict
) -> None:
    inputs, choice = {"data": prepared()}, SETTINGS | setting
    whole = products(train(inputs, **choice))
    assert killed_and_resumed(choice, inputs, tmp_path / "killed", 7, 14) == whole
    told = json.loads(whole["averaging.json"])
    assert told["iterates"] == told["last"] - told["first"] + 1
    rows = json.loads(whole["records.json"])
    assert {row["method"] for row in rows} == {f"{setting.get('method', 'ERM')}+SWAD"}
    assert len({row["accuracy"] for row in rows}) == 1  # there is one network to select


def test_one_that_never_converges_is_the_last_iterate(tmp_path: Path, train: Make, prepared: Make) -> None:
    """Losses that fall to the end have no valley yet."""
    data = prepared()
    choice = parameters(averaging="swad", swad={"n_converge": 3, "n_tolerance": 1}, evaluate_every=2)
    loop = _make_loop(choice, data, {}, tmp_path / "checkpoint")
    losses = iter([9.0, 8.0, 7.0, 6.0, 5.0, 4.0])
    close = loop.averaging.close_segment
    loop.averaging.close_segment = lambda step, loss: close(step, next(losses))
    with reproducible(choice.threads):  # as the stage does
        loop.run(ignore)
    assert loop.averaged["converged"] is False
    plain = load_file(train({"data": data}) / "model.safetensors")
    assert all(torch.equal(tensor, plain[name]) for name, tensor in loop.network.state_dict().items())


def test_training_stops_where_the_valley_ends(tmp_path: Path, prepared: Make) -> None:
    choice = parameters(averaging="swad", swad={"n_converge": 1, "n_tolerance": 1}, evaluate_every=1)
    loop = _make_loop(choice, prepared(), {}, tmp_path / "checkpoint")
    losses = iter([2.0, 2.1, 9.0, 1.0])
    close = loop.averaging.close_segment
    loop.averaging.close_segment = lambda step, loss: close(step, next(losses))
    loop.run(ignore)
    assert (loop.done, loop.averaged) == (3, {"converged": True, "first": 1, "last": 2, "iterates": 2})


def test_the_authors_valley_without_evaluations_is_refused() -> None:
    with pytest.raises(ValueError, match=r"valley: authors .* averaging: none does not make; set averaging"):
        TrainSettings(backbone="resnet50", iterations=1, swad=Swad(valley="authors"))
