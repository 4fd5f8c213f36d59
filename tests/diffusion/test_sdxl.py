"""SDXL: its prompt embeddings, its sampling as stock diffusers has it, and stages one and two on it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image

from pipeline.config import AdapterSpec, BaseModelSpec, FinetuneSettings, Guidance, PairParams
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune import stage as finetune
from pipeline.diffusion.generate import domain_flow
from pipeline.diffusion.generate import stage as generate
from pipeline.diffusion.prompt_embeddings import concatenate, where
from pipeline.diffusion.sampling import Levels, classifier_free, invert, sample
from pipeline.planning.kinds.finetune import FinetuneParams
from pipeline.planning.kinds.flow import FlowParams
from pipeline.planning.kinds.generate import GenerateParams
from pipeline.planning.kinds.sampling import InversionSettings
from tests import tiny_pipelines
from tests.diffusion.stage_samples import Killed, killed_after, product, silent

SIZE = 16
PROMPTS = ["a two", "a nine", "a one"]


@pytest.fixture(params=["epsilon", "v_prediction"])
def model(request: pytest.FixtureRequest) -> BaseModel:
    return BaseModel.wrap(tiny_pipelines.sdxl(request.param), SIZE)


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_prompt_embeddings_are_those_of_the_stock_pipeline(model: BaseModel) -> None:
    found = model.embed(PROMPTS)
    prompts, _, pooled, _ = model.pipe.encode_prompt(
        PROMPTS, device=torch.device("cpu"), do_classifier_free_guidance=False
    )
    assert torch.equal(found.prompts, prompts)
    assert torch.equal(found.pooled, pooled)
    assert found.sizes.tolist() == [[SIZE, SIZE, 0, 0, SIZE, SIZE]] * 3


def test_prompt_embeddings_are_chosen_sample_by_sample(model: BaseModel) -> None:
    found, empty = model.embed(PROMPTS), model.embed(["an image"])
    mixed = where(torch.tensor([True, False, True]), empty, found)
    expected = concatenate([empty, found[[1]], empty.expand(1)])
    assert len(mixed) == 3
    for name, tensor in mixed.tensors().items():
        assert torch.equal(tensor, expected.tensors()[name]), name
    assert not torch.equal(mixed.pooled[0], mixed.pooled[1])


def test_sampling_equals_the_stock_pipeline_with_ddim(model: BaseModel, noise: torch.Tensor) -> None:
    """Guided, from the same noise, by trailing timesteps: the latents, and the images but for rounding."""
    pipe = model.pipe
    predict = classifier_free(model.denoiser, model.embed(PROMPTS), model.embed(["an image"]).expand(3), 5.0)
    ours = sample(model, predict, noise, Levels.make(model, 10))
    # Stock DDIM ends at the first alpha_bar unless told that the last step leads to no noise at all.
    pipe.scheduler = DDIMScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="trailing", set_alpha_to_one=True, clip_sample=False
    )
    pipe.set_progress_bar_config(disable=True)
    asked = {
        "prompt": PROMPTS,
        "negative_prompt": ["an image"] * 3,
        "num_inference_steps": 10,
        "guidance_scale": 5.0,
        "height": SIZE,
        "width": SIZE,
        "latents": noise,
    }
    theirs = pipe(**asked, output_type="latent").images
    assert torch.allclose(ours, theirs, atol=1e-4 * float(theirs.abs().max()))
    images = (pipe(**asked, output_type="np").images * 255).round()
    assert np.abs(model.decode(ours).astype(float) - images).max() <= 1


def test_a_batch_equals_its_images_one_at_a_time(model: BaseModel, noise: torch.Tensor) -> None:
    """In float64, in which the order of a batch's sums changes a result by about 1e-13."""
    model.pipe.to(torch.float64)
    model.alpha_bar, noise = model.alpha_bar.double(), noise.double()
    prompts, levels = model.embed(PROMPTS), Levels.make(model, 5)

    def there_and_back(x: torch.Tensor, of: slice) -> torch.Tensor:
        predict = classifier_free(model.denoiser, prompts[of], prompts[of], 1.0)
        return sample(model, predict, invert(model, predict, x, levels), levels)

    together = there_and_back(0.1 * noise, slice(0, 3))
    for i in range(3):
        alone = there_and_back(0.1 * noise[i : i + 1], slice(i, i + 1))
        assert torch.allclose(alone[0], together[i], rtol=0, atol=1e-10)


# ---------------------------------------------------------------------------------- stages one and two

PAIR = PairParams(source="S", target="T", words=["zero", "one", "two"])


@pytest.fixture(scope="module")
def params(sdxl_folder: Path) -> FinetuneParams:
    return FinetuneParams(
        pair=PAIR,
        base_model=BaseModelSpec(name=str(sdxl_folder), resolution=SIZE),
        adapter=AdapterSpec(rank=2, alpha=2.0, layers=["Linear"], include=r".*attn.*"),
        settings=FinetuneSettings(
            steps=4, batch_size=2, learning_rate=1e-2, checkpoint_every=2, unconditional=0.3
        ),
        threads=1,
    )


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, params: FinetuneParams, two_domains: Path) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    finetune.run(params, {"data": two_domains}, folder, silent)
    return folder


def sampling(params: FinetuneParams, contents: str, **changes: object) -> dict[str, object]:
    inverted = contents == "adapted"
    return {
        "base_model": params.base_model,
        "guidance": Guidance(weight=2.0, content_scale=0.5),
        "inversion": InversionSettings(depth=1.0, refinements=1, statistics="target" if inverted else "own"),
        "steps": 3,
        "batch_size": 2,
        "scale": 0.9,
        "source_prompt": "A {class}",
        "target_prompt": "An image",
        "seed": 0,
        "threads": 1,
    } | changes


def generation(params: FinetuneParams, contents: str, **changes: object) -> GenerateParams:
    pair = None if contents == "base" else PAIR
    told = {"contents": contents, "pair": pair, "words": PAIR.words, "per_class": 2}
    return GenerateParams(**told, **sampling(params, contents, **changes))


def test_a_killed_fine_tuning_ends_with_the_same_bytes(
    tmp_path: Path, params: FinetuneParams, two_domains: Path, adapter: Path
) -> None:
    with pytest.raises(Killed):
        finetune.run(params, {"data": two_domains}, tmp_path, killed_after(3))
    finetune.run(params, {"data": two_domains}, tmp_path, silent)
    assert product(tmp_path) == product(adapter)


@pytest.mark.parametrize("contents", ["adapted", "generated", "base"])
def test_images_are_made_and_do_not_depend_on_their_batch(
    tmp_path: Path, params: FinetuneParams, two_domains: Path, adapter: Path, contents: str
) -> None:
    inputs = {} if contents == "base" else {"data": two_domains, "adapter": adapter}
    pixels = {}
    for size in (2, 3):
        generate.run(generation(params, contents, batch_size=size), inputs, tmp_path / str(size), silent)
        files = pd.read_csv(tmp_path / str(size) / "manifest.csv")["file"]
        pixels[size] = np.stack([np.asarray(Image.open(tmp_path / str(size) / file), int) for file in files])
    assert pixels[2].shape == (6, SIZE, SIZE, 3)
    assert np.abs(pixels[2] - pixels[3]).max() <= 1


def test_half_precision_samples_nearly_the_same(
    tmp_path: Path, params: FinetuneParams, two_domains: Path, adapter: Path, noise: torch.Tensor
) -> None:
    found = []
    for precision in ("fp32", "bf16"):
        model = BaseModel.load(params.base_model, precision)
        prompts = model.embed(PROMPTS)
        predict = classifier_free(model.denoiser, prompts, prompts, 1.0)
        found.append(sample(model, predict, noise, Levels.make(model, 5)))
        assert found[-1].dtype == torch.float32
    assert 0 < (found[0] - found[1]).norm() < 0.05 * found[0].norm()
    wanted = generation(params, "adapted", precision="bf16")
    generate.run(wanted, {"data": two_domains, "adapter": adapter}, tmp_path, silent)
    assert len(list((tmp_path / "images").iterdir())) == 6


def test_a_domain_flow_is_drawn(
    tmp_path: Path, params: FinetuneParams, two_domains: Path, adapter: Path
) -> None:
    wanted = FlowParams(pair=PAIR, examples=2, times=[0.0, 1.0], **sampling(params, "adapted"))
    domain_flow.run(wanted, {"data": two_domains, "adapter": adapter}, tmp_path, silent)
    assert len(list((tmp_path / "images").iterdir())) == 4
