"""Analogies in a 2x2 grid: what is learned, what is painted, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from pipeline.cli import main
from pipeline.config import BaseModelSpec
from pipeline.data.image_sets import load_labelled, load_unlabelled
from pipeline.diffusion.adapters.lorweb import load_encoder
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune import stage as finetune
from pipeline.diffusion.finetune.analogy_data import AnalogyData
from pipeline.diffusion.generate import stage as generate
from pipeline.diffusion.generate.in_context import grid, in_grid, last_quarter
from pipeline.diffusion.sampling import Levels, sample
from tests.diffusion.analogy_samples import PAIR, WORDS, generated_whole_and_cut, generation, params_of, tuned
from tests.diffusion.stage_samples import Killed, killed_after, product, silent


@pytest.fixture(scope="module")
def model() -> BaseModel:
    return BaseModel.load(BaseModelSpec(name="mini"))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, two_domains: Path) -> Path:
    return tuned(tmp_path_factory.mktemp("adapter"), params_of("pseudo", context="grid"), two_domains)


def quarters(grids: Tensor) -> list[Tensor]:
    """a, a', b and b' of grids, by another way than `grid` puts them together."""
    n, c, height, width = grids.shape
    tiles = grids.reshape(n, c, 2, height // 2, 2, width // 2)
    return [tiles[:, :, row, :, column] for row in (0, 1) for column in (0, 1)]


def test_a_grid_is_a_and_a_prime_over_b_and_b_prime() -> None:
    parts = torch.randn(4, 3, 2, 5, 6)
    assert torch.equal(torch.stack(quarters(grid(*parts))), parts)
    assert torch.equal(last_quarter(grid(*parts)), parts[3])


def test_a_perfect_denoiser_of_grids_leads_back_to_b_prime(model: BaseModel) -> None:
    """It knows the clean grid and computes the noise, so known quarters must have the step's noise level."""
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(4, 2, *model.latent_shape, generator=generator) for _ in range(2))
    seen = []

    def perfect(latents: Tensor, timestep: int) -> Tensor:
        alpha_bar = model.alpha_bar[timestep]
        found = (latents - alpha_bar.sqrt() * grid(*clean)) / (1 - alpha_bar).sqrt()
        seen.append(quarters(found)[:3])
        return model.target(grid(*clean), found, torch.tensor([timestep]))

    painted = sample(model, in_grid(model, perfect, clean[:3], noise[:3]), noise[3], Levels.make(model, 5))
    assert torch.allclose(painted, clean[3], atol=1e-3)
    assert len(seen) == 5, "one pass for each step"
    for found in seen:
        assert torch.allclose(torch.stack(found), noise[:3], atol=1e-2), "one noise for all steps"


def rows_of(latents: Tensor, among: Tensor) -> Tensor:
    distances = torch.cdist(latents.flatten(1), among.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    assert distances.min(1).values.max() < 1e-3, "all are of this domain"
    return distances.argmin(1)


@pytest.mark.parametrize("pairing", ["random", "pseudo"])
def test_a_batch_is_grids_of_the_images_of_its_analogies(
    tmp_path: Path, two_domains: Path, model: BaseModel, pairing: str
) -> None:
    """a : a'' :: b : b first, all of the source; then a : a' :: b : b', with a' and b' of the target."""
    params = params_of(pairing, examples=1, context="grid", batch_size=5)
    data = AnalogyData(model, params, params.analogies, two_domains, tmp_path)
    source, target = load_labelled(two_domains, "S", "train"), load_unlabelled(two_domains, "T", "train")
    of_source, of_target = model.encode(source.images), model.encode(target.images)
    encoder = load_encoder(params.adapter.analogy)
    embedded = [encoder.embed(images.images) for images in (source, target)]
    batch = data.batch(1)
    assert batch.noise.shape == batch.clean.shape == (10, 4, 2 * of_source.shape[2], 2 * of_source.shape[3])
    stays, leads = quarters(batch.clean[:5]), quarters(batch.clean[5:])
    assert torch.equal(stays[2], stays[3]), "b itself"
    for halves, theirs in ((stays, of_source), (leads, of_target)):
        assert torch.equal(halves[0], stays[0])
        assert torch.equal(halves[2], stays[2])
        rows = [rows_of(halves[0], of_source), rows_of(halves[1], theirs), rows_of(halves[2], of_source)]
        rows_of(halves[3], theirs)
        within = embedded[0] if theirs is of_source else embedded[1]
        wanted = torch.cat([embedded[0][rows[0]], within[rows[1]], embedded[0][rows[2]]], dim=1)
        condition = batch.condition[:5] if theirs is of_source else batch.condition[5:]
        assert torch.allclose(condition, wanted, atol=1e-6), "the condition embeds the images of the grid"


def test_of_exact_pairs_b_prime_is_b_changed_as_a_is(
    tmp_path: Path, digits_artifact: Path, model: BaseModel
) -> None:
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    pair = PAIR.model_copy(update={"source": "UC", "target": "MM", "words": words})
    params = params_of("exact", (pair,), context="grid")
    data = AnalogyData(model, params, params.analogies, digits_artifact, tmp_path)
    a, a_prime, b, b_prime = quarters(data.batch(0).clean[2:])
    (rendered,) = data.pairs
    for before, after in ((a, a_prime), (b, b_prime)):
        assert rows_of(before, rendered.plain).equal(rows_of(after, rendered.rendered))
    group = [rows_of(part, rendered.plain) // rendered.members for part in (a, b)]
    assert group[0].equal(group[1]), "one change for both"
    assert not rows_of(a, rendered.plain).equal(rows_of(b, rendered.plain))


def test_a_killed_fine_tuning_ends_with_the_same_bytes(
    tmp_path: Path, two_domains: Path, adapter: Path
) -> None:
    params = params_of("pseudo", context="grid")
    with pytest.raises(Killed):
        finetune.run(params, {"data": two_domains}, tmp_path, killed_after(3))
    assert product(tuned(tmp_path, params, two_domains)) == product(adapter)


@pytest.mark.parametrize("contents", ["adapted", "generated"])
def test_images_depend_on_what_is_shown_and_not_on_their_batch(
    tmp_path: Path, two_domains: Path, adapter: Path, contents: str
) -> None:
    inputs = {"data": two_domains, "adapter": adapter}
    wanted = generation(contents, context="grid")
    generated_whole_and_cut(wanted, inputs, tmp_path)
    assert product(tmp_path / "cut") == product(tmp_path / "whole")
    manifest = pd.read_csv(tmp_path / "whole" / "manifest.csv", keep_default_na=False)
    assert len(manifest) == 2 * len(WORDS)
    assert set(manifest.columns) >= {"a", "a_prime", "b"}
    from pipeline.data.made_images import load_generated

    generate.run(wanted.model_copy(update={"batch_size": 6}), inputs, tmp_path / "together", silent)
    apart, together = (load_generated(tmp_path / name).images.astype(int) for name in ("whole", "together"))
    assert abs(apart - together).max() <= 1


def test_what_is_shown_changes_what_is_painted(model: BaseModel, adapter: Path) -> None:
    """With all else equal, mix and noise too."""
    from pipeline.diffusion.generate.merged_denoisers import Denoisers

    params, rng = generation("adapted", context="grid"), np.random.default_rng(0)
    shown = [rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8) for _ in range(3)]
    denoisers, prompts = Denoisers.make(model, None, params), model.embed(["a one"])

    def painted(images: list[np.ndarray]) -> np.ndarray:
        inputs = generate.BatchInputs(prompts, prompts, prompts, [7], quarters=images)
        return generate.make_batch(model, denoisers, params, inputs)

    assert np.array_equal(painted(shown), painted(shown))
    for quarter in range(3):
        others = [images if i != quarter else 255 - images for i, images in enumerate(shown)]
        assert not np.array_equal(painted(shown), painted(others))


def test_a_suite_with_a_grid_takes_no_validation_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "grids.yaml"
    suite.write_text("extends: digits_analogies\nname: grids\nfinetune: {validate_every: 5}\n")
    assert main(["plan", str(suite)]) == 2
    assert "adapter pseudo_grid paints into a grid" in capsys.readouterr().err
