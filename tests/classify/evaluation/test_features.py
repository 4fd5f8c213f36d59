"""The images that t-SNE figures show."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.classify.evaluation.features import spread


@given(st.integers(1, 3000), st.integers(1, 700))
def test_indices_are_distinct_ordered_and_reach_both_ends(images: int, count: int) -> None:
    chosen = spread(images, count)
    assert len(chosen) == min(images, count)
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] == 0
    assert count == 1 or chosen[-1] == images - 1


def test_every_class_of_sorted_images_is_shown() -> None:
    labels = np.repeat(np.arange(10), 300)
    assert (np.bincount(labels[spread(len(labels), 500)]) == 50).all()
