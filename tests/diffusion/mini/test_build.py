"""The base model in this repository, and the glyphs it was trained on."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline

from pipeline.data.digits.fonts import BENCHMARK_FONTS, GENERIC_FONTS, FontFile, font_paths
from pipeline.data.digits.glyphs import GlyphStyle, render
from pipeline.diffusion.mini import WEIGHTS, build
from pipeline.diffusion.mini.autoencoder import psnr
from pipeline.diffusion.mini.denoiser import export
from pipeline.diffusion.mini.glyph_pool import draw_glyph


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionPipeline:
    pipe = DiffusionPipeline.from_pretrained(WEIGHTS)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_loads_as_stable_diffusion_in_single_precision(pipe):
    assert isinstance(pipe, StableDiffusionPipeline)
    assert pipe.safety_checker is None
    assert pipe.feature_extractor is None
    assert {pipe.unet.dtype, pipe.vae.dtype, pipe.text_encoder.dtype} == {torch.float32}


def test_the_folder_is_small_and_holds_no_pickles():
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10_000_000
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt", ".md"}


def test_draws_an_image_and_the_seed_decides_it(pipe):
    def draw(seed: int) -> np.ndarray:
        generator = torch.Generator().manual_seed(seed)
        return pipe("a three", num_inference_steps=2, generator=generator, output_type="np").images

    assert draw(0).shape == (1, 32, 32, 3)
    assert np.array_equal(draw(0), draw(0))
    assert not np.array_equal(draw(0), draw(1))


@pytest.mark.parametrize(
    ("style", "bound"),
    [
        (GlyphStyle(palette="plain"), 29.0),
        (GlyphStyle(palette="colour"), 28.5),
        (GlyphStyle(background="texture"), 28.0),
    ],
    ids=["plain", "colour", "texture"],
)
def test_the_autoencoder_keeps_strokes_in_unseen_fonts(pipe, style, bound):
    fonts, rng = font_paths(BENCHMARK_FONTS), np.random.default_rng(7)
    images = np.stack([render(str(i % 10), fonts[i % len(fonts)], 32, rng, style) for i in range(30)])
    assert psnr(pipe.vae, images).mean() > bound


def test_prompts_have_distinct_embeddings(pipe):
    prompts = [f"a {digit}" for digit in build.DIGITS] + ["an image", "", "a letter k", "a letter q"]
    embeddings, _ = pipe.encode_prompt(prompts, torch.device("cpu"), 1, False)
    distances = torch.cdist(embeddings.flatten(1), embeddings.flatten(1)) + torch.eye(len(prompts)) * 1e9
    assert distances.min() > 0.1 * embeddings.flatten(1).norm(dim=1).mean()


def test_words_are_single_tokens_and_any_text_is_accepted(pipe):
    assert all(len(pipe.tokenizer(word).input_ids) == 3 for word in (*build.WORDS, "a", "k", "7"))
    assert len(pipe.tokenizer("Grüße, 漢字!", truncation=True).input_ids) == build.TEXT_LENGTH


def test_the_export_is_the_saved_model(pipe, tmp_path):
    export(pipe, tmp_path / "model")
    again = DiffusionPipeline.from_pretrained(tmp_path / "model")
    for name, value in pipe.unet.state_dict().items():
        assert torch.equal(value, again.unet.state_dict()[name]), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_training_fonts_and_benchmark_fonts_share_nothing():
    for of in (lambda font: font.family, lambda font: font.path().name):
        assert not {of(font) for font in BENCHMARK_FONTS} & {of(font) for font in GENERIC_FONTS}
    assert 8 <= len(BENCHMARK_FONTS) <= 12


def test_a_missing_font_package_is_named():
    with pytest.raises(ModuleNotFoundError, match=re.escape("pip install font-of-nowhere")):
        FontFile("Nowhere", "font-of-nowhere", "font_of_nowhere", "files/Nowhere.ttf").path()


@pytest.mark.parametrize("background", ["flat", "gradient", "texture"])
@pytest.mark.parametrize("palette", ["plain", "colour"])
def test_the_seed_decides_the_glyph(palette, background):
    font = font_paths(BENCHMARK_FONTS)[0]
    style = GlyphStyle(palette=palette, background=background, warp=(0.02, 0.05), noise=(0.01, 0.05))

    def draw(seed: int) -> np.ndarray:
        return render("5", font, 32, np.random.default_rng(seed), style)

    assert draw(1).shape == (32, 32, 3)
    assert draw(1).dtype == np.uint8
    assert np.array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_every_glyph_used_is_visible():
    rng, style = np.random.default_rng(0), GlyphStyle(palette="plain", weight=(-0.1, -0.1))
    for font in font_paths(GENERIC_FONTS):
        for character in "0123456789bdgkQ":
            assert render(character, font, 32, rng, style).max() > 60, (font.name, character)


def test_training_images_depend_on_their_index_alone():
    fonts: list[Path] = font_paths(GENERIC_FONTS)
    first, again = draw_glyph(11, 0, fonts), draw_glyph(11, 0, fonts)
    assert np.array_equal(first[0], again[0])
    assert first[1] == again[1]
    labels = [draw_glyph(i, 0, fonts)[1] for i in range(300)]
    assert 0.45 < np.mean(np.array(labels) < 10) < 0.65
