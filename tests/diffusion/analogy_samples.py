"""What tests of analogies fine-tune and generate: a small LoRWeB of mini between the domains S and T."""

from pathlib import Path

import pytest

from pipeline.config import AdapterSpec, AnalogySpec, BaseModelSpec, FinetuneSettings, Guidance, PairParams
from pipeline.diffusion.finetune import stage as finetune
from pipeline.diffusion.generate import stage as generate
from pipeline.planning.kinds.finetune import AnalogiesParams, FinetuneParams
from pipeline.planning.kinds.generate import GenerateParams
from pipeline.planning.kinds.sampling import InversionSettings
from tests.diffusion.stage_samples import Killed, killed_after, silent

WORDS = ["zero", "one", "two"]
PAIR = PairParams(source="S", target="T", words=WORDS)


def params_of(
    pairing: str = "random",
    pairs: tuple[PairParams, ...] = (PAIR,),
    examples: int = 2,
    context: str = "inversion",
    **settings: object,
) -> FinetuneParams:
    about = {"steps": 4, "batch_size": 2, "learning_rate": 1e-2, "checkpoint_every": 2, "unconditional": 0.3}
    spec = AnalogySpec(basis=3, key_width=6, examples=examples, pairing=pairing, context=context)
    return FinetuneParams(
        pair=None,
        analogies=AnalogiesParams(pairs=list(pairs)),
        base_model=BaseModelSpec(name="mini"),
        adapter=AdapterSpec(type="lorweb", rank=1, alpha=1.0, analogy=spec),
        settings=FinetuneSettings(**(about | settings)),
        threads=1,
    )


def generation(contents: str, context: str = "inversion") -> GenerateParams:
    inverted = contents == "adapted" and context == "inversion"
    return GenerateParams(
        contents=contents,
        pair=PAIR,
        words=WORDS,
        per_class=2,
        base_model=BaseModelSpec(name="mini"),
        guidance=Guidance(weight=2.0, content_scale=0.5),
        steps=2,
        batch_size=2,
        scale=0.9,
        source_prompt="a {class}",
        target_prompt="an image",
        seed=0,
        threads=1,
        inversion=InversionSettings(depth=1.0, refinements=0, statistics="target" if inverted else "own"),
        context=context,
    )


def tuned(folder: Path, params: FinetuneParams, data: Path) -> Path:
    finetune.run(params, {"data": data}, folder, silent)
    return folder


def generated_whole_and_cut(params: GenerateParams, inputs: dict[str, Path], folder: Path) -> None:
    """Into folder/whole, and into folder/cut by a run that is killed and taken up again."""
    generate.run(params, inputs, folder / "whole", silent)
    with pytest.raises(Killed):
        generate.run(params, inputs, folder / "cut", killed_after(4))
    generate.run(params, inputs, folder / "cut", silent)
