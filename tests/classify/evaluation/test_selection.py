"""Checkpoint selection: each rule, and who reads the target's labels."""

import numpy as np
import pytest

from pipeline.classify.evaluation.selection import (
    Evaluation,
    TargetLabels,
    neighbourhood_density,
    score,
    select,
)


def test_selections_take_the_best_and_of_equals_the_latest() -> None:
    labels = np.array([0, 1, 1, 2])
    guesses = [[0, 1, 1, 2], [0, 1, 1, 2], [0, 0, 0, 2], [0, 1, 0, 2]]
    sources = [50.0, 60.0, 70.0, 70.0]
    evaluations = [
        Evaluation(i, source, np.eye(3)[guess])
        for i, (source, guess) in enumerate(zip(sources, guesses, strict=True))
    ]
    assert {
        name: select(name, evaluations, TargetLabels.of_all(labels)).step
        for name in ("last", "source", "oracle")
    } == {
        "last": 3,
        "source": 3,
        "oracle": 1,
    }
    assert select("source", evaluations[:3], TargetLabels.of_all(labels)).step == 2


def test_the_unsupervised_selection_takes_the_densest_neighbourhoods() -> None:
    """The paper's equations 2 to 4 in plain numpy: each image's similarity to the others, and its entropy."""
    rng = np.random.default_rng(0)
    given = [rng.dirichlet([sharpness] * 4, 30) for sharpness in (5.0, 0.5, 0.1)]
    found = [neighbourhood_density(probabilities) for probabilities in given]
    for probabilities, density in zip(given, found, strict=True):
        points = probabilities / np.linalg.norm(probabilities, axis=1, keepdims=True)
        similarity = points @ points.T / 0.05
        others = similarity[~np.eye(30, dtype=bool)].reshape(30, 29)
        share = np.exp(others) / np.exp(others).sum(axis=1, keepdims=True)
        assert density == pytest.approx(-(share * np.log(share)).sum(axis=1).mean(), rel=1e-4)
    evaluations = [Evaluation(i, 50.0, probabilities) for i, probabilities in enumerate(given)]
    assert select("unsupervised", evaluations, TargetLabels.of_all(np.zeros(30))).step == int(
        np.argmax(found)
    )


def test_no_selection_but_the_oracle_reads_target_labels() -> None:
    rng = np.random.default_rng(1)
    evaluations = [Evaluation(i, 50.0 + i % 3, rng.dirichlet([0.3] * 4, 20)) for i in range(6)]
    labels = [rng.integers(4, size=20) for _ in range(8)]
    for name in ("last", "source", "unsupervised"):
        assert len({select(name, evaluations, TargetLabels.of_all(one)).step for one in labels}) == 1
    assert len({select("oracle", evaluations, TargetLabels.of_all(one)).step for one in labels}) > 1


def test_a_class_without_test_images_has_no_accuracy() -> None:
    found = score(np.array([0, 1, 1]), np.array([0, 1, 0]), classes=3)
    assert found.accuracy == pytest.approx(200 / 3)
    assert found.per_class == [50.0, 100.0, None]
