"""The digits benchmark: what is in its four domains, and that they are apart."""

import itertools

import numpy as np
import pytest

from pipeline.config import read_card
from pipeline.data.digits import build as digits
from pipeline.data.image_sets import load_labelled

DOMAINS = ["MN", "MM", "UC", "SY"]


@pytest.fixture(scope="module")
def everything(digits_artifact):
    """Images [N, 32, 32, 3] and labels [N] of each domain, training and test images together."""
    found = {}
    for domain in DOMAINS:
        parts = [load_labelled(digits_artifact, domain, split) for split in ("train", "test")]
        images, labels = [part.images for part in parts], [part.labels for part in parts]
        found[domain] = np.concatenate(images), np.concatenate(labels)
    return found


@pytest.mark.parametrize("domain", DOMAINS)
def test_counts_are_those_of_the_card_and_splits_are_stratified(digits_artifact, domain):
    card = read_card("digits").domains[domain]
    train = load_labelled(digits_artifact, domain, "train")
    test = load_labelled(digits_artifact, domain, "test")
    assert (len(train), len(test)) == (card.train, card.test)
    assert len(test) >= 350
    per_class = np.bincount(train.labels, minlength=10), np.bincount(test.labels, minlength=10)
    np.testing.assert_allclose(per_class[1] / (per_class[0] + per_class[1]), 0.2, atol=0.005)
    assert not set(train.names) & set(test.names)
    assert len(set(train.names + test.names)) == card.train + card.test


@pytest.mark.parametrize("domain", DOMAINS)
def test_order_and_names_tell_nothing_of_the_class(digits_artifact, domain):
    train = load_labelled(digits_artifact, domain, "train")
    correlation = np.corrcoef(np.arange(len(train)), train.labels)[0, 1]
    assert abs(correlation) < 0.1
    assert train.names == sorted(train.names)


def test_no_image_occurs_twice(everything):
    prints = {domain: {image.tobytes() for image in images} for domain, (images, _) in everything.items()}
    for domain, (images, _) in everything.items():
        assert len(prints[domain]) == len(images)
    for one, other in itertools.combinations(DOMAINS, 2):
        assert not prints[one] & prints[other]


def test_mnist_and_mnist_m_share_no_handwriting():
    first, second = digits.mnist_halves()
    assert sorted([*first, *second]) == list(range(5000))
    images, labels = digits.mnist()
    assert (np.bincount(labels[first]) == 250).all()
    assert (np.bincount(labels[second]) == 250).all()
    assert not {image.tobytes() for image in images[first]} & {image.tobytes() for image in images[second]}


def test_images_have_the_looks_of_their_domain(everything):
    for images, _ in everything.values():
        assert images.dtype == np.uint8
        assert images.shape[1:] == (32, 32, 3)
    grey = {domain: (images == images[..., :1]).all() for domain, (images, _) in everything.items()}
    assert grey == {"MN": True, "MM": False, "UC": True, "SY": False}
    spread = everything["SY"][0].reshape(2500, -1, 3).std(axis=1).max(axis=1)
    assert spread.min() > 5  # no drawn digit has vanished into its background


def test_domains_depend_on_nothing_but_the_seed():
    for domain in ("MN", "MM", "UC"):
        assert digits.build(domain, 3).digests() == digits.build(domain, 3).digests()
        assert digits.build(domain, 3).digests()["split"] != digits.build(domain, 4).digests()["split"]


def test_drawing_again_gives_the_same_images(everything, monkeypatch):
    monkeypatch.setattr(digits, "DRAWN_PER_CLASS", 5)
    images, labels = digits.make_drawn(read_card("digits").seed)
    whole = {image.tobytes(): label for image, label in zip(*everything["SY"], strict=True)}
    assert [whole[image.tobytes()] for image in images] == labels.tolist()


def test_blend_is_the_absolute_difference():
    background = np.full((32, 32, 3), (10, 200, 255), np.uint8)
    digit = np.zeros((32, 32), np.uint8)
    digit[4, 5], digit[6, 7] = 255, 100
    blended = digits.blend(background, digit)
    assert blended[0, 0].tolist() == [10, 200, 255]
    assert blended[4, 5].tolist() == [245, 55, 0]
    assert blended[6, 7].tolist() == [90, 100, 155]


def test_crops_stay_inside_the_photographs():
    photographs = [np.zeros((32, 40, 3), np.uint8), np.ones((35, 32, 3), np.uint8)]
    crops = [digits.crop(photographs, number) for number in range(200)]
    assert {crop.shape for crop in crops} == {(32, 32, 3)}
    assert {int(crop.max()) for crop in crops} == {0, 1}


def test_enlarging_keeps_flat_images_and_ramps():
    flat = digits.enlarge(np.full((1, 8, 8), 16, np.int64))
    assert (flat == 255).all()
    ramp = digits.enlarge(np.tile(2 * np.arange(8, dtype=np.int64), (1, 8, 1)))[0, 14]
    centres = (4 * np.arange(28) - 5) / 14
    inner = (centres >= 1) & (centres <= 6)  # where the kernel sees no border, it reproduces a line
    np.testing.assert_allclose(ramp[inner], 2 * centres[inner] * 255 / 16, atol=0.5)
