"""The proxy A-distance against cases whose answer is known, and what is drawn of it."""

import io

import numpy as np
import pandas as pd
import pytest

from pipeline.core.errors import UserError
from pipeline.report.plots import a_distance


def test_two_sets_from_one_distribution_are_not_told_apart():
    first, second = np.random.default_rng(0).normal(size=(2, 1000, 4))
    assert abs(a_distance.proxy_a_distance(first, second)) < 0.2


def test_the_very_same_set_twice_is_told_apart_no_better_than_by_guessing():
    points = np.random.default_rng(0).normal(size=(300, 8))
    assert a_distance.proxy_a_distance(points, points) <= 0.15


def test_separable_sets_are_two_apart_whatever_their_sizes():
    points = np.random.default_rng(0).normal(size=(400, 4))
    assert a_distance.proxy_a_distance(points, points[:60] + 50) == 2


def test_half_overlapping_intervals():
    """Of [0, 1] and [1/2, 3/2] any threshold between 1/2 and 1 errs on a quarter: 2 (1 - 2/4) = 1."""
    line = np.linspace(0, 1, 4000)[:, None]
    assert a_distance.proxy_a_distance(line, line + 0.5) == pytest.approx(1, abs=0.1)


def test_the_same_seed_gives_the_same_number():
    first, second = np.random.default_rng(1).normal(size=(2, 100, 4))
    assert a_distance.proxy_a_distance(first, second) == a_distance.proxy_a_distance(first, second)


def test_each_set_that_belongs_to_an_augmentation_is_measured(features):
    networks = [a_distance.Network("MN->MM", "ERM", name, features) for name in ("none", "terra")]
    found = a_distance.measure(networks)
    assert list(zip(found["augmentation"], found["set"], strict=True)) == [
        ("none", "source"),
        ("terra", "source"),
        ("terra", "adapted"),
        ("terra", "generated"),
    ]
    with np.load(features) as arrays:
        sets = arrays["adapted.features"], arrays["target.features"]
    assert found["distance"][2] == a_distance.proxy_a_distance(*sets)
    drawn = a_distance.draw(networks, "T")
    assert set(drawn) == {".png", ".pdf", ".csv"}
    written = pd.read_csv(io.BytesIO(drawn[".csv"]))
    assert np.allclose(written["distance"], found["distance"], atol=1e-4)


def test_features_that_are_not_finite_are_named(features):
    nothing = {f"{name}.features": np.full((5, 2), np.nan) for name in ("source", "target")}
    np.savez(features, **nothing)
    with pytest.raises(UserError, match=r"features.npz holds NaN or infinity in its features"):
        a_distance.measure([a_distance.Network("MN->MM", "ERM", "none", features)])
