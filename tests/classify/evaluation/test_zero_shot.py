"""CLIP zero-shot: the logits of transformers, its row beside trained methods, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPTextModel

from pipeline import config
from pipeline.classify import registry
from pipeline.classify.clip import load_clip
from pipeline.config import ZeroShotSettings
from pipeline.core.errors import UserError
from pipeline.core.store import Store
from pipeline.execution.suite_plan import plan_of
from pipeline.execution.worker import make_artifact
from pipeline.report.collect import gather
from pipeline.report.trainings import REPORT, write_accuracies
from tests.clip_folders import save_clip

WORDS = ["zero", "one", "two"]
PROMPT = "a photo of a {class}."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


def pictures() -> list[Image.Image]:
    random = np.random.default_rng(0)
    sizes = [(32, 32, 3), (40, 61, 3), (90, 33, 3)]
    return [Image.fromarray(random.integers(0, 256, size, dtype=np.uint8)) for size in sizes]


def test_logits_are_those_of_transformers(folder: Path) -> None:
    clip = load_clip(ZeroShotSettings(model=str(folder)))
    found = clip.logits(pictures(), clip.embed_classes(PROMPT, WORDS))
    theirs = CLIPModel.from_pretrained(folder)
    tokens = clip.tokenizer([f"a photo of a {word}." for word in WORDS], padding=True, return_tensors="pt")
    pixels = clip.processor(images=pictures(), return_tensors="pt")
    assert pixels["pixel_values"].shape == (3, 3, 32, 32)
    with torch.no_grad():
        expected = theirs(**tokens, **pixels).logits_per_image
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-5)
    assert expected.std(dim=1).min() > 1e-2, "the classes differ by far more than that"
    one_by_one = [clip.logits([picture], clip.embed_classes(PROMPT, WORDS)) for picture in pictures()]
    torch.testing.assert_close(torch.cat(one_by_one), found, rtol=1e-5, atol=1e-5)


def suite_file(folder: Path, clip: Path, **changes: object) -> Path:
    told = {
        "extends": "digits_smoke",
        "name": "with_clip",
        "tasks": ["MN->UC"],
        "augmentations": ["none", "base"],
        "methods": [{"name": "CLIP", "hyperparameters": {"model": str(clip)}}, "ERM"],
        "seeds": [0, 1],
        "selections": ["last", "oracle"],
    }
    path = folder / "with_clip.yaml"
    path.write_text(yaml.safe_dump(told | changes))
    return path


def test_a_row_beside_trained_methods(tmp_path: Path, folder: Path) -> None:
    """One job for all seeds, no made images, and the accuracy of transformers' own predictions."""
    suite = config.read_suite(suite_file(tmp_path, folder))
    plan = plan_of(suite)
    cells = [cell for cell in plan.cells if cell.method == "CLIP zero-shot"]
    assert {(cell.augmentation, cell.seed) for cell in cells} == {("none", 0), ("none", 1)}
    (job,) = {cell.job for cell in cells}
    store = Store(tmp_path / "store")
    for needed in (*job.inputs.values(), job):
        make_artifact(needed, store, lambda message: None)
    recorded, _ = gather(plan, store, tmp_path / "records.csv")
    assert recorded is not None
    assert recorded[["method", "augmentation", "seed", "selection", "backbone"]].values.tolist() == [
        ["CLIP zero-shot", "none", seed, selection, str(folder)]
        for seed in (0, 1)
        for selection in ("last", "oracle")
    ]
    assert recorded["accuracy"].nunique() == 1
    predicted = np.load(store.path("zero_shot", job.key) / "predictions.npz")
    clip = load_clip(ZeroShotSettings(model=str(folder)))
    data = store.path("prepare", job.inputs["data"].key)
    images = np.load(data / "UC.images.npy")[np.load(data / "UC.split.npy") == 1][:7]
    classes = clip.embed_classes(PROMPT, job.params.words)
    expected = clip.logits(list(map(Image.fromarray, images)), classes).argmax(dim=1)
    assert predicted["last.predicted"][:7].tolist() == expected.tolist()
    write_accuracies(suite, ["MN->UC"], plan.card.classes, recorded, tmp_path)
    table = (tmp_path / "tables" / "accuracy_last.md").read_text()
    assert f"| CLIP zero-shot | {recorded['accuracy'][0]:.1f} ± 0.0 |" in table.replace("**", "")
    assert "CLIP zero-shot: not trained, by the words of the classes" in table
    assert "Missing: 4 of 6 trainings" in table, "two rows of ERM and one of CLIP, of two seeds each"
    artifacts = REPORT.artifacts(plan, store)
    assert {spec.name for spec in REPORT.figures(suite, recorded, artifacts)} >= {
        "confusion_MN-to-UC_CLIP-zero-shot"
    }


def test_the_job_depends_on_the_files_of_the_model(tmp_path: Path, folder: Path) -> None:
    own = tmp_path / "clip"
    shutil.copytree(folder, own)

    def key() -> str:
        plan = plan_of(config.read_suite(suite_file(tmp_path, own)))
        return next(cell.job.key for cell in plan.cells if cell.method == "CLIP zero-shot")

    before = key()
    weights = load_file(own / "model.safetensors")
    save_file(weights | {"logit_scale": torch.tensor(1.0)}, own / "model.safetensors", {"format": "pt"})
    assert key() != before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"augmentations": ["base"]}, "CLIP is zero-shot and takes no made images; add none"),
        (
            {"methods": [{"name": "CLIP", "hyperparameters": {"modell": "x"}}]},
            "method CLIP: hyper-parameter modell: .*did you mean 'model'",
        ),
        (
            {"methods": [{"name": "CLIP", "train": {"iterations": 3}}]},
            "method CLIP is zero-shot and is not trained; leave its `train` out",
        ),
    ],
)
def test_suites_refused(tmp_path: Path, folder: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        config.read_suite(suite_file(tmp_path, folder, **changes))


def test_a_model_that_is_not_there_is_told_by_plan(tmp_path: Path) -> None:
    suite = config.read_suite(suite_file(tmp_path, tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"method CLIP: model .*nowhere.*: there is no folder"):
        plan_of(suite)


def test_models_refused(tmp_path: Path, folder: Path) -> None:
    def without(name: str, *files: str) -> Path:
        shutil.copytree(folder, tmp_path / name)
        for file in files:
            (tmp_path / name / file).unlink()
        return tmp_path / name

    tokens = sorted(path.name for path in folder.iterdir() if "token" in path.name or "vocab" in path.name)
    half = without("half", "model.safetensors")
    weights = load_file(folder / "model.safetensors")
    seen = {name: tensor for name, tensor in weights.items() if not name.startswith("vision_model")}
    save_file(seen, half / "model.safetensors", {"format": "pt"})
    nan = without("nan")
    save_file(weights | {"logit_scale": torch.tensor(torch.nan)}, nan / "model.safetensors", {"format": "pt"})
    text = tmp_path / "text"
    CLIPTextModel(CLIPModel.from_pretrained(folder).config.text_config).save_pretrained(text)
    refused = {
        without("speechless", *tokens): "its tokenizer has 2 tokens, its text encoder",
        without("blind", "preprocessor_config.json"): "its image processor can't be loaded",
        without("empty", "model.safetensors"): "its weights can't be loaded",
        without("nothing", "config.json"): "its configuration can't be loaded",
        half: "its weights lack vision_model",
        nan: "the tensor logit_scale holds NaN",
        text: "is a clip_text_model; expected a CLIP",
    }
    for path, said in refused.items():
        with pytest.raises(UserError, match=rf"method CLIP: model '{path}'.*{said}"):
            load_clip(ZeroShotSettings(model=str(path)))


def test_a_prompt_longer_than_the_model_takes_is_refused(folder: Path) -> None:
    clip = load_clip(ZeroShotSettings(model=str(folder)))
    with pytest.raises(UserError, match=r"the prompt 'zero zero .*' has 17 tokens, and the model takes 16"):
        clip.embed_classes("{class}", ["one", " ".join(["zero"] * 15)])
    clip.embed_classes("{class}", ["one", " ".join(["zero"] * 14)])


def test_the_list_of_methods_has_it() -> None:
    text = registry.describe_methods()
    assert "zero-shot by the words of the classes" in text
    assert "model=openai/clip-vit-base-patch16" in text
