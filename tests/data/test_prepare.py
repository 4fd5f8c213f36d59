"""Preparing a dataset: the card is checked against what is made."""

import numpy as np
import pytest

from pipeline.config import DatasetCard, read_card
from pipeline.core.errors import UserError
from pipeline.data import prepare
from pipeline.data.image_sets import domain_sha256, load_labelled
from pipeline.planning.kinds.prepare import PrepareParams


def changed(domain: str = "UC", **changes) -> DatasetCard:
    """The digits card with one domain alone, changed."""
    card = read_card("digits")
    return card.model_copy(update={"domains": {domain: card.domains[domain].model_copy(update=changes)}})


def run(card: DatasetCard, folder, progress=lambda done, total, what: None) -> None:
    prepare.run(PrepareParams(card=card), {}, folder, progress)


def test_the_same_bytes_each_time(digits_artifact, tmp_path):
    run(changed(), tmp_path)
    written = sorted(tmp_path.iterdir())
    assert [path.name for path in written] == [
        "UC.images.npy",
        "UC.json",
        "UC.labels.npy",
        "UC.names.npy",
        "UC.split.npy",
    ]
    for path in written:
        assert path.read_bytes() == (digits_artifact / path.name).read_bytes()


def test_a_run_that_was_cut_off_is_done_again(digits_artifact, tmp_path):
    (tmp_path / "UC.images.npy").write_bytes(b"half")
    run(changed(), tmp_path)
    assert (tmp_path / "UC.images.npy").read_bytes() == (digits_artifact / "UC.images.npy").read_bytes()


def test_progress_ends_at_the_total(tmp_path):
    seen = []
    run(changed(), tmp_path, lambda done, total, what: seen.append((done, total)))
    assert seen == [(0, 1), (1, 1)]


@pytest.mark.parametrize(("field", "value"), [("sha256", "f" * 64), ("train", 1437), ("test", 1)])
def test_a_domain_unlike_its_card_is_refused(tmp_path, field, value):
    found = getattr(read_card("digits").domains["UC"], field)
    with pytest.raises(UserError) as caught:
        run(changed(**{field: value}), tmp_path)
    message = str(caught.value)
    facts = "domain UC of digits", f"{field} is {found}", f"says {value};"
    remedies = "scikit-learn", "setup.cfg", "python -m pipeline.data.prepare digits"
    for told in (*facts, *remedies):
        assert told in message
    assert not list(tmp_path.iterdir())


def test_cards_that_cannot_be_made_are_refused(tmp_path):
    card = read_card("digits")
    with pytest.raises(UserError, match=r"no domain 'MX' can be built.*did you mean 'M"):
        run(card.model_copy(update={"domains": {"MX": card.domains["MN"]}}), tmp_path)
    with pytest.raises(UserError, match="classes: digits has, in this order, zero"):
        run(card.model_copy(update={"classes": card.classes[::-1]}), tmp_path)
    with pytest.raises(UserError, match="image_size: digits has 32, not 28"):
        run(card.model_copy(update={"image_size": 28}), tmp_path)


def test_describe_prints_what_the_card_says():
    stated = read_card("digits").domains["UC"]
    assert prepare.describe(changed(sha256="?")).splitlines() == [
        "domains:",
        "  UC:",
        f"    train: {stated.train}",
        f"    test: {stated.test}",
        f"    sha256: {stated.sha256}",
    ]


def test_the_hash_covers_every_array(digits_artifact):
    arrays = prepare.digits.build("UC", read_card("digits").seed)
    digests = arrays.digests()
    whole = domain_sha256(digests)
    assert whole == read_card("digits").domains["UC"].sha256
    for name in digests:
        assert domain_sha256(digests | {name: "0" * 64}) != whole
    np.testing.assert_array_equal(
        load_labelled(digits_artifact, "UC", "test").labels, arrays.labels[arrays.split == 1]
    )
