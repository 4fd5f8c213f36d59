"""Analogies between domains: how they are drawn, what a LoRWeB learns from them, and images made by them."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.config import AnalogySpec, BaseModelSpec, PairParams
from pipeline.data.digits.build import blend
from pipeline.data.digits.paired import STYLES, exact_pairs, shape
from pipeline.data.image_sets import load_labelled, load_unlabelled
from pipeline.diffusion.adapters.lorweb import load_encoder
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune import stage as finetune
from pipeline.diffusion.finetune.analogies import EmbeddedImages, pseudo_labels
from pipeline.diffusion.finetune.analogy_data import AnalogyData
from pipeline.diffusion.generate import stage as generate
from tests.diffusion.analogy_samples import PAIR, WORDS, generated_whole_and_cut, generation, params_of, tuned
from tests.diffusion.stage_samples import Killed, killed_after, product, silent

GENERATOR = torch.Generator()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, two_domains: Path) -> Path:
    return tuned(tmp_path_factory.mktemp("adapter"), params_of("pseudo"), two_domains)


def test_a_guessed_class_is_that_of_the_nearest_mean_once_domains_are_centred() -> None:
    rng = np.random.default_rng(0)
    source, labels = rng.standard_normal((40, 5)), rng.integers(0, 3, 40)
    target = rng.standard_normal((30, 5)) + 4.0
    found = pseudo_labels(*map(torch.from_numpy, (source, labels, target)))
    means = np.stack([(source - source.mean(0))[labels == c].mean(0) for c in range(3)])
    for row, guess in zip(target - target.mean(0), found, strict=True):
        cosine = [row @ mean / np.linalg.norm(row) / np.linalg.norm(mean) for mean in means]
        assert guess == int(np.argmax(cosine))


def test_images_are_drawn_of_a_class_if_classes_are_known_and_of_any_if_one_has_none() -> None:
    labels = torch.tensor([2, 0, 2, 0, 2])
    known, unknown = EmbeddedImages(torch.zeros(5, 1), labels), EmbeddedImages(torch.zeros(5, 1), None)
    wanted = torch.tensor([0, 1, 2, 5]).repeat_interleave(200)
    drawn = known.draw(wanted, 2, GENERATOR.manual_seed(0))
    for label in (0, 2):
        of_class = torch.nonzero(labels == label).flatten().tolist()
        assert sorted(set(drawn[wanted == label].flatten().tolist())) == of_class
    for label in (1, 5):
        assert set(drawn[wanted == label].flatten().tolist()) == set(range(5))
    assert set(unknown.draw(wanted, 1, GENERATOR).flatten().tolist()) == set(range(5))


@pytest.mark.parametrize("pairing", ["random", "pseudo"])
def test_a_batch_is_source_under_itself_and_target_under_the_analogy(
    tmp_path: Path, two_domains: Path, pairing: str
) -> None:
    """The embeddings show it: b is the image itself, a and a' are means of two images of their domains."""
    params, model = params_of(pairing, batch_size=6), BaseModel.load(BaseModelSpec(name="mini"))
    data = AnalogyData(model, params, params.analogies, two_domains, tmp_path)
    encoder = load_encoder(params.adapter.analogy)
    source, target = load_labelled(two_domains, "S", "train"), load_unlabelled(two_domains, "T", "train")
    latents = torch.cat([model.encode(source.images), model.encode(target.images)])
    domain = torch.tensor([0] * len(source) + [1] * len(target))
    of_source, of_target = encoder.embed(source.images), encoder.embed(target.images)
    guessed = pseudo_labels(of_source, torch.from_numpy(source.labels), of_target)
    for step in range(4):
        batch = data.batch(step)
        row = torch.cdist(batch.clean.flatten(1), latents.flatten(1)).argmin(1)
        assert domain[row].tolist() == [0] * 6 + [1] * 6
        a, a_prime, b = batch.condition.split(128, dim=1)
        assert torch.allclose(b[:6], of_source[row[:6]], atol=1e-6), "the image itself"
        assert torch.allclose(b[6:], b[:6], atol=1e-6)
        assert torch.allclose(a[6:], a[:6], atol=1e-6)
        for means, domain_of in ((a[:6], of_source), (a_prime[:6], of_source), (a_prime[6:], of_target)):
            pairs = torch.stack([(one + two) / 2 for one in domain_of for two in domain_of])
            assert torch.cdist(means, pairs).min(1).values.max() < 1e-3
        assert torch.equal(batch.noise[:6], batch.noise[6:])
        assert torch.equal(batch.timesteps[:6], batch.timesteps[6:])
        if pairing == "random":
            assert torch.equal(batch.prompts.prompts[6:], data.empty.expand(6).prompts), "no class is claimed"
        else:
            labels = torch.from_numpy(source.labels)[row[:6]]
            assert torch.equal(guessed[row[6:] - len(source)], labels)


def test_several_pairs_share_a_batch(tmp_path: Path, two_domains: Path) -> None:
    there = params_of(pairs=(PAIR, PairParams(source="S", target="S", words=WORDS)), batch_size=8)
    data = AnalogyData(
        BaseModel.load(BaseModelSpec(name="mini")), there, there.analogies, two_domains, tmp_path
    )
    assert all(len(data.batch(step).clean) == 16 for step in range(8))
    assert data.names_of_conditions() == ["S:S", "S:T", "S:S", "S:S"]
    assert data.conditions_to_show().shape == (4, 384)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_killed_fine_tuning_ends_with_the_same_bytes(
    tmp_path: Path, two_domains: Path, adapter: Path, steps: int
) -> None:
    with pytest.raises(Killed):
        finetune.run(params_of("pseudo"), {"data": two_domains}, tmp_path, killed_after(steps))
    assert product(tuned(tmp_path, params_of("pseudo"), two_domains)) == product(adapter)


@pytest.mark.parametrize("contents", ["adapted", "generated"])
def test_a_killed_generation_ends_with_the_same_bytes_and_the_manifest_names_the_analogies(
    tmp_path: Path, two_domains: Path, adapter: Path, contents: str
) -> None:
    wanted, inputs = generation(contents), {"data": two_domains, "adapter": adapter}
    generated_whole_and_cut(wanted, inputs, tmp_path)
    assert product(tmp_path / "cut") == product(tmp_path / "whole")
    manifest = pd.read_csv(tmp_path / "whole" / "manifest.csv", keep_default_na=False)
    source = load_labelled(two_domains, "S", "train")
    labels = dict(zip(source.names, source.labels, strict=True))
    for row in manifest.itertuples():
        a, a_prime = row.a.split(" | "), row.a_prime.split(" | ")
        assert len(a) == len(a_prime) == 2, "as many examples as the adapter takes"
        assert {labels[name] for name in [*a, row.b]} == {row.label}
        assert all(name.startswith("T") for name in a_prime)
        assert row.b == row.source or contents == "generated"


def test_the_images_of_a_batch_have_mixes_of_their_own(
    tmp_path: Path, two_domains: Path, adapter: Path
) -> None:
    """One at a time they are the same as together."""
    for size in (1, 6):
        wanted = generation("adapted").model_copy(update={"batch_size": size})
        generate.run(wanted, {"data": two_domains, "adapter": adapter}, tmp_path / str(size), silent)
    one, six = (product(tmp_path / size) for size in ("1", "6"))
    assert one["manifest.csv"] == six["manifest.csv"]
    from pipeline.data.made_images import load_generated

    apart = load_generated(tmp_path / "1").images.astype(int) - load_generated(tmp_path / "6").images
    assert abs(apart).max() <= 1


@pytest.mark.parametrize(
    ("pairing", "context"), [("random", "inversion"), ("pseudo", "inversion"), ("pseudo", "grid")]
)
def test_target_labels_are_never_read(tmp_path: Path, two_domains: Path, pairing: str, context: str) -> None:
    blind = tmp_path / "blind"
    shutil.copytree(two_domains, blind)
    (blind / "T.labels.npy").write_bytes(b"garbage")
    made = {}
    for name, data in (("seen", two_domains), ("unseen", blind)):
        tuned(tmp_path / name, params_of(pairing, context=context), data)
        inputs = {"data": data, "adapter": tmp_path / name}
        generate.run(generation("adapted", context), inputs, tmp_path / name / "adapted", silent)
        generate.run(generation("generated", context), inputs, tmp_path / name / "generated", silent)
        made[name] = product(tmp_path / name)
    assert made["seen"] == made["unseen"]


def test_exact_pairs_are_one_digit_in_two_manners_with_one_change_for_a_group() -> None:
    before, after, labels = exact_pairs("MN", "MM", groups=3, members=2, seed=0)
    assert before.shape == after.shape == (3, 2, 32, 32, 3)
    assert labels.shape == (3, 2)
    for one, two, made, other in zip(before[:, 0], before[:, 1], after[:, 0], after[:, 1], strict=True):
        free = (one == 0) & (two == 0)
        assert np.array_equal(made[free], other[free]), "both are over one crop"
        background = np.where(one == 0, made, 0)
        assert np.array_equal(blend(background, one[..., 0])[one == 0], made[one == 0])
    again = exact_pairs("MN", "MM", groups=3, members=2, seed=0)
    assert all(np.array_equal(x, y) for x, y in zip((before, after, labels), again, strict=True))
    assert not np.array_equal(after, exact_pairs("MN", "MM", groups=3, members=2, seed=1)[1])


def test_a_shape_looks_the_same_class_in_every_manner() -> None:
    """The classifier is mini's encoder, which was trained on fonts, with the nearest mean of plain shapes."""
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 10
    shapes = [shape(int(label), rng) for label in labels]
    encoder = load_encoder(AnalogySpec())
    found = {
        name: encoder.embed(np.stack([manner(digit, i) for i, digit in enumerate(shapes)]))
        for name, manner in STYLES.items()
    }
    for name, embedded in found.items():
        guessed = pseudo_labels(found["MN"], torch.from_numpy(labels), embedded)
        assert (guessed.numpy() == labels).mean() > 0.6, name


def test_exact_analogies_are_learned_from_rendered_digits_with_their_class(
    tmp_path: Path, digits_artifact: Path
) -> None:
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    params = params_of(
        "exact", (PairParams(source="UC", target="SY", words=words),), batch_size=4, unconditional=0.0
    )
    (tmp_path / "data").mkdir()
    for file in digits_artifact.iterdir():
        if not file.name.startswith("SY"):
            shutil.copy(file, tmp_path / "data")
    data = AnalogyData(
        BaseModel.load(params.base_model), params, params.analogies, tmp_path / "data", tmp_path
    )
    batch = data.batch(0)
    (rendered,) = data.pairs
    row = torch.cdist(batch.clean[4:].flatten(1), rendered.rendered.flatten(1)).argmin(1)
    assert torch.allclose(batch.clean[4:], rendered.rendered[row])
    assert torch.equal(batch.prompts.prompts[4:], data.prompts[rendered.rendered_labels[row]].prompts)
    b = batch.condition[4:].split(128, dim=1)[2]
    assert torch.allclose(b, rendered.before.embedded[row], atol=1e-6)
