"""Gains, intervals, tests and ranks against independent computations, by hand or by scipy's own."""

from itertools import product
from math import sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from pipeline.report.plots import rank_diagram
from pipeline.report.tables import significance, significance_text
from tests.report.report_samples import make_row, make_suite

TASKS = [f"A->{place}" for place in range(8)]
GAINS = np.array([1.0, 2.0, 3.5, -0.5, 4.0, 5.0, 6.0, 7.25])
"""One gain is negative, and no two are of one size."""

grids = arrays(float, (7, 3), elements=st.integers(0, 100).map(float))


def grid(values):
    return np.array(values, dtype=float)[:, None]


def gain(values, other):
    return significance.gain("ERM", "terra", "none", values, other)


def test_a_gain_and_its_signed_rank_test():
    """p by hand: of all 2^8 ways to give the sizes signs, those whose rank sum is as far from the middle."""
    found = gain(grid(50 + GAINS), grid([50.0] * 8))
    sizes = stats.rankdata(abs(GAINS))
    middle, seen = sizes.sum() / 2, sizes[GAINS < 0].sum()
    sums = [sizes @ np.array(signs) for signs in product((0, 1), repeat=8)]
    assert found.p == pytest.approx(np.mean([abs(each - middle) >= abs(seen - middle) for each in sums]))
    assert found.p == pytest.approx(stats.wilcoxon(GAINS).pvalue)
    assert found.mean == pytest.approx(GAINS.mean())
    assert (found.better, found.tasks, found.pairs, found.untested) == (7, 8, 8, "")


@given(arrays(float, st.integers(1, 9), elements=st.integers(-4, 4).filter(bool).map(float)))
@settings(deadline=None, max_examples=30)
def test_p_is_exact_with_ties_too(gains):
    """Against all patterns of signs; equal sizes share their mean rank."""
    sizes = stats.rankdata(abs(gains))
    sums = np.array([sizes @ np.array(signs) for signs in product((0, 1), repeat=len(gains))])
    seen = sizes[gains > 0].sum()
    expected = min(1, 2 * min(np.mean(sums <= seen + 1e-9), np.mean(sums >= seen - 1e-9)))
    assert significance.signed_rank_p(gains) == pytest.approx(expected)


def test_p_of_many_tasks_is_scipys():
    gains = np.random.default_rng(0).normal(0.3, 1, 40)
    assert significance.signed_rank_p(gains) == pytest.approx(stats.wilcoxon(gains, method="exact").pvalue)


def test_with_one_seed_the_interval_is_that_of_a_plain_bootstrap_over_tasks():
    low, high = gain(grid(50 + GAINS), grid([50.0] * 8)).interval
    plain = stats.bootstrap((GAINS,), np.mean, method="percentile", rng=1).confidence_interval
    assert (low, high) == pytest.approx((plain.low, plain.high), abs=0.15)


def test_tasks_are_resampled_and_then_their_seeds():
    """Two tasks of two and one seed: the distribution of the mean from all draws, equally likely."""
    differences = np.array([[0.0, 4.0], [10.0, np.nan]])
    of_task = [[0.0, 2.0, 2.0, 4.0], [10.0] * 4]  # means of the four ways to draw two seeds of two
    exact = [
        (a + b) / 2
        for first, second in product((0, 1), repeat=2)
        for a, b in product(of_task[first], of_task[second])
    ]
    drawn = significance.resampled_gains(differences, resamples=40_000)
    assert drawn.mean() == pytest.approx(np.mean(exact), abs=0.06)
    assert drawn.std() == pytest.approx(np.std(exact), abs=0.06)
    assert set(drawn) == set(exact)


@settings(max_examples=20, deadline=None)
@given(grids, grids, st.integers(-20, 20))
def test_laws_of_a_gain(values, other, constant):
    found = gain(values, other)
    both = gain(values + constant, other + constant)
    assert both == found
    shifted, swapped = gain(values + constant, other), gain(other, values)
    assert shifted.mean == pytest.approx(found.mean + constant, abs=1e-6)
    assert shifted.interval == pytest.approx(tuple(bound + constant for bound in found.interval), abs=1e-6)
    assert swapped.mean == pytest.approx(-found.mean, abs=1e-6)
    assert swapped.interval == pytest.approx((-found.interval[1], -found.interval[0]), abs=1e-6)
    assert swapped.p == (None if found.p is None else pytest.approx(found.p))


def test_too_few_tasks_are_said_and_not_tested():
    found = gain(grid([51.0] * 5), grid([50.0] * 5))
    assert (found.mean, found.interval, found.p) == (1.0, None, None)
    assert "5 tasks: too few for an interval or a test, which need 6" in significance_text.sentence(found)
    same = gain(grid([50.0] * 7 + [51.0]), grid([50.0] * 8))
    assert same.p is None
    assert same.interval
    assert "tasks that differ: 1, too few" in same.untested


def test_missing_cells_are_left_out_and_said():
    values, other = grid(50 + GAINS), grid([50.0] * 8)
    values[0] = np.nan
    found = gain(values, other)
    assert found.mean == pytest.approx(GAINS[1:].mean())
    assert (found.tasks, found.asked) == (7, 8)
    assert significance_text.sentence(found).endswith(
        "better on 6 of 7 tasks; on 1 of the 8 tasks one of the two is missing."
    )
    nothing = gain(values * np.nan, other)
    assert nothing.mean is None
    assert "cannot be compared with ERM yet" in significance_text.sentence(nothing)


def test_sentences():
    found = significance.Gain("MCC", "terra", "none", 2.1, (0.9, 3.3), 0.012, 10, 12, 12, 36, 36)
    assert significance_text.sentence(found) == (
        "MCC + Terra gains 2.1 points on average over MCC (95 %: 0.9 to 3.3; p = 0.012), better on 10 of 12 "
        "tasks."
    )
    worse = significance.Gain("MCC", "terra", "base", -2.1, (-3.3, -0.9), 0.0002, 1, 12, 12, 35, 36)
    assert significance_text.sentence(worse) == (
        "MCC + Terra loses 2.1 points on average to MCC + base (95 %: −3.3 to −0.9; p < 0.001), better on "
        "1 of 12 tasks; "
        "1 of 36 pairs of trainings are missing."
    )


def test_ranks_of_a_small_case_by_hand():
    """Columns are tasks: in the second the first two rows are equal and share the ranks 1 and 2."""
    accuracies = np.array([[90.0, 80.0, 70.0], [80.0, 80.0, 90.0], [70.0, 70.0, 80.0]])
    assert list(significance.average_ranks(accuracies)) == pytest.approx([5.5 / 3, 4.5 / 3, 8 / 3])


@given(arrays(float, (4, 6), elements=st.integers(0, 100).map(float)), st.integers(0, 50))
def test_laws_of_ranks(accuracies, constant):
    found = significance.average_ranks(accuracies)
    assert found.sum() == pytest.approx(4 * 5 / 2)
    assert significance.average_ranks(accuracies + constant) == pytest.approx(found)
    assert significance.average_ranks(-accuracies) == pytest.approx(5 - found)


@pytest.mark.parametrize(("rows", "quantile"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_has_the_quantiles_that_demsar_prints(rows, quantile):
    expected = quantile * sqrt(rows * (rows + 1) / (6 * 14))
    assert significance.critical_difference(rows, 14) == pytest.approx(expected, rel=1e-3)


def test_groups_are_the_widest_that_are_not_told_apart():
    assert significance.alike([1.0, 2.0, 2.5, 4.0], 1.6) == [(0, 2), (2, 3)]
    assert significance.alike([1.0, 3.0], 1.5) == []


def test_a_task_that_a_row_lacks_is_ranked_nowhere():
    whole = grid(50 + GAINS)
    part = whole - 1
    part[0] = np.nan
    found = significance.ranks(
        {("ERM", "none"): whole, ("ERM", "terra"): part, ("MCC", "none"): whole * np.nan}
    )
    assert (found.tasks, found.asked, found.left_out) == (7, 8, (("MCC", "none"),))
    assert found.average == (1.0, 2.0)
    assert found.critical is not None
    said = significance_text.ranks_caption(found)
    assert "over 7 tasks of 8" in said
    assert "Without any result: MCC" in said


def records(rows=TASKS):
    accuracies = {"none": 50.0, "base": 52.0, "terra": 55.0}
    return pd.DataFrame(
        [
            make_row(task, augmentation, seed, base + place + seed)
            for place, task in enumerate(rows)
            for augmentation, base in accuracies.items()
            for seed in (0, 1)
        ]
    )


def test_the_files_say_the_same():
    suite = make_suite(tasks=TASKS)
    found = significance.statistics(records(), suite, TASKS, "last")
    assert [(each.augmentation, each.over, each.mean) for each in found.gains] == [
        ("terra", "none", 5.0),
        ("terra", "base", 3.0),
    ]
    assert found.gains[0].p == pytest.approx(2 / 2**8)
    assert found.gains[0].interval == (5.0, 5.0)
    text = significance_text.markdown(found)
    assert "| ERM + Terra | ERM + base | +3.0 | 3.0 to 3.0 | 0.0078 | 8 of 8 | 16 of 16 |" in text
    assert "| ERM + Terra | 1.00 |" in text
    lines = significance_text.csv(found).splitlines()
    assert lines[0].startswith(
        "dataset,selection,method,augmentation,average rank,tasks ranked,critical difference,gain over"
    )
    assert lines[3].startswith("digits,last,ERM,terra,1,8,")
    assert ",3,3,3,0.0078125,8,8,16" in lines[3]


def test_without_an_adapter_the_control_is_measured():
    assert significance.compared(["none", "base"]) == [("base", "none")]
    assert significance.compared(["none"]) == []


def test_the_diagram_is_the_same_bytes_twice():
    found = significance.statistics(records(), make_suite(tasks=TASKS), TASKS, "last").ranks
    first = rank_diagram.draw(found, "A & B_<i>")
    assert first == rank_diagram.draw(found, "A & B_<i>")
    assert first[".png"].startswith(b"\x89PNG")
