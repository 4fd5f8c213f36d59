"""The Frechet distance against scipy's root of a matrix, and the check on good and on bad images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import sqrtm

from pipeline.classify.evaluation.image_quality import CHECK, assess
from pipeline.metrics.definitions import fid

Make = Callable[..., Path]


def test_frechet_distance_against_scipy() -> None:
    random = np.random.default_rng(0)
    a = random.standard_normal((300, 6)) @ random.standard_normal((6, 6))
    b = random.standard_normal((200, 6)) @ random.standard_normal((6, 6)) + 1.5
    first, second = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(
        first + second - 2 * sqrtm(first @ second).real
    )
    assert fid(a, b) == pytest.approx(expected, rel=1e-9)
    assert fid(b, a) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_known_cases() -> None:
    a = np.random.default_rng(0).standard_normal((50, 4))
    assert fid(a, a) == pytest.approx(0, abs=1e-6)
    assert fid(a, a + np.array([3, 0, 4, 0])) == pytest.approx(25)
    few = a[:3]  # covariances of rank two
    assert fid(few, 2 * few) == pytest.approx(np.trace(np.cov(few.T)) + (few.mean(0) ** 2).sum())


def test_assess(prepared: Make, generated: Make) -> None:
    sets = {"generated": generated("generated", each=10)}
    quick = CHECK.model_copy(update={"iterations": 40, "batch_size": 12})
    table = assess(prepared(), "T", sets, ["S"], seed=0, settings=quick)
    assert list(table.columns) == ["set", "images", "recognised", "distance"]
    assert table["set"].tolist() == ["generated", "source", "target test"]
    by_set = table.set_index("set")
    assert by_set.loc["generated", "recognised"] == 100 == by_set.loc["target test", "recognised"]
    assert by_set.loc["source", "recognised"] < 80
    assert by_set.loc["source", "distance"] > 2 * by_set.loc["generated", "distance"]
    assert table.equals(assess(prepared("again"), "T", sets, ["S"], seed=0, settings=quick))
