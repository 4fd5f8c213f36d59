"""Loading domains: labels stay closed unless asked for, and nothing damaged is used."""

import json
import shutil

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data.image_sets import ImageSet, load_labelled, load_unlabelled


@pytest.fixture
def artifact(digits_artifact, tmp_path):
    """A copy of the UC domain, to damage."""
    for path in digits_artifact.glob("UC.*"):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_labelled_and_unlabelled_are_the_same_images(digits_artifact):
    for split in ("train", "test"):
        labelled = load_labelled(digits_artifact, "UC", split)
        unlabelled = load_unlabelled(digits_artifact, "UC", split)
        np.testing.assert_array_equal(labelled.images, unlabelled.images)
        assert labelled.names == unlabelled.names
        assert labelled.labels.dtype == np.int64
        assert unlabelled.labels is None


@pytest.mark.parametrize("labels", [None, b"garbage"])
def test_unlabelled_never_opens_the_labels(digits_artifact, artifact, labels):
    file = artifact / "UC.labels.npy"
    file.unlink()
    if labels is not None:
        file.write_bytes(labels)
    found = load_unlabelled(artifact, "UC", "train")
    np.testing.assert_array_equal(found.images, load_unlabelled(digits_artifact, "UC", "train").images)
    with pytest.raises(UserError, match=r"domain UC: UC\.labels\.npy cannot be read"):
        load_labelled(artifact, "UC", "train")


@pytest.mark.parametrize("name", ["images", "labels", "split", "names"])
def test_changed_arrays_are_refused(artifact, name):
    file = artifact / f"UC.{name}.npy"
    array = np.load(file)
    array[[0, 1]] = array[[1, 0]]
    array[0] = array[-1] if name == "names" else array[0] ^ 1
    np.save(file, array)
    with pytest.raises(UserError, match=rf"domain UC: {file.name} was changed.*delete .*makes it again"):
        load_labelled(artifact, "UC", "train")


@pytest.mark.parametrize("name", ["images", "split", "names"])
def test_unlabelled_checks_what_it_reads(artifact, name):
    file = artifact / f"UC.{name}.npy"
    np.save(file, np.load(file)[::-1])
    with pytest.raises(UserError, match=f"domain UC: {file.name} was changed"):
        load_unlabelled(artifact, "UC", "test")


@pytest.mark.parametrize("size", [0, 3, 60, 10_000])
def test_cut_off_arrays_are_refused(artifact, size):
    file = artifact / "UC.images.npy"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(UserError, match=r"domain UC: UC\.images\.npy cannot be read.*makes it again"):
        load_labelled(artifact, "UC", "train")


@pytest.mark.parametrize("text", [None, "{", "[]", json.dumps({"images": "0"})])
def test_missing_or_broken_hashes_are_refused(artifact, text):
    (artifact / "UC.json").unlink()
    if text is not None:
        (artifact / "UC.json").write_text(text)
    with pytest.raises(UserError, match=r"domain UC: UC\.json .*makes it again"):
        load_labelled(artifact, "UC", "train")


def test_unknown_domain_names_those_that_exist(digits_artifact):
    with pytest.raises(UserError, match=r"no domain 'UCI'.*there are: MM, MN, SY, UC; did you mean 'UC'"):
        load_labelled(digits_artifact, "UCI", "train")


def test_take():
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    taken = ImageSet(images, np.array([5, 6, 7, 8]), list("abcd")).take([3, 0, 0])
    assert len(taken) == 3
    assert taken.images.ravel().tolist() == [3, 0, 0]
    assert taken.labels.tolist() == [8, 5, 5]
    assert taken.names == ["d", "a", "a"]
    assert ImageSet(images, None, list("abcd")).take(np.array([1])).labels is None
    assert len(ImageSet(images, None, list("abcd")).take([])) == 0
