"""The t-predictor: its losses, its stage after a kill and without labels, separated domains."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sklearn.metrics import silhouette_score
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from pipeline import config
from pipeline.backbones import DigitsCnn
from pipeline.config import TPredictorSettings
from pipeline.core.checkpoint import CHECKPOINT
from pipeline.core.errors import Remark, UserError
from pipeline.core.step_losses import LOOK_EVERY
from pipeline.data.image_sets import DomainArrays, load_unlabelled, save_domain
from pipeline.diffusion.t_predictor import train
from pipeline.diffusion.t_predictor.loss import contrastive, gaussian
from pipeline.diffusion.t_predictor.model import make_predictor
from pipeline.diffusion.t_predictor.times import FILE, read_times, times_of
from pipeline.planning.kinds.t_predictor import TPredictorParams
from tests.waiting import nothing_is_waited_for

DARK, GREY, BRIGHT = "dark", "grey", "bright"
LEVELS = {DARK: 40, GREY: 128, BRIGHT: 215}


class Killed(Exception):
    """Stands for a kill -9 between two steps."""


def silent(done: int, total: int, what: str) -> None:
    pass


def killed_after(steps: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, what: str) -> None:
        if done >= steps:
            raise Killed

    return progress


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three domains of 40 noisy images that differ in brightness; every fourth is for testing."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for domain, level in LEVELS.items():
        images = (level + rng.integers(-30, 30, (40, 32, 32, 3))).astype(np.uint8)
        split, names = (np.arange(40) % 4 == 3).astype(np.uint8), np.array([f"0{i}" for i in range(40)])
        save_domain(folder, domain, DomainArrays(images, np.arange(40) % 3, split, names))
    return folder


def parameters(
    t_dim: int = 2, domains: tuple[str, ...] = tuple(LEVELS), **changes: object
) -> TPredictorParams:
    settings = {
        "backbone": "digits_cnn",
        "pretrained": None,
        "learning_rate": 1e-3,
        "batch_size": 30,
        "epochs": 3,
        "checkpoint_every": 2,
    } | changes
    return TPredictorParams(
        domains=list(domains), t_dim=t_dim, image_size=32, settings=TPredictorSettings(**settings), threads=1
    )


def made(folder: Path, params: TPredictorParams, data: Path) -> Path:
    train.run(params, {"data": data}, folder, silent)
    return folder


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    return made(tmp_path_factory.mktemp("predictor"), parameters(), data)


def product(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "scratch" not in path.parts)
    return {path.name: path.read_bytes() for path in files}


batches = st.builds(
    lambda n, t_dim, domains, scale, seed: (
        scale * torch.randn(n, t_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)),
        torch.randint(domains, (n,), generator=torch.Generator().manual_seed(seed + 1)),
    ),
    n=st.integers(2, 14),
    t_dim=st.integers(1, 3),
    domains=st.integers(1, 4),
    scale=st.sampled_from([0.0, 0.1, 1.0, 5.0]),
    seed=st.integers(0, 10**6),
)


@pytest.mark.parametrize(
    ("normalisation", "mean", "deviation"),
    [("half", [0.5] * 3, [0.5] * 3), ("backbone", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])],
)
def test_colours_are_normalised_as_the_settings_say(
    normalisation: str, mean: list[float], deviation: list[float]
) -> None:
    settings = {"backbone": "resnet18", "pretrained": None, "normalisation": normalisation}
    predictor = make_predictor(parameters(**settings)).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]
    with torch.inference_mode():
        expected = predictor.head(predictor.backbone(x))
    assert np.allclose(predictor.predict(images), expected.numpy(), rtol=0, atol=1e-5)


def by_double_loop(t: Tensor, domains: Tensor, margin: float) -> tuple[float, float]:
    """The contrastive loss as the paper says it."""
    same, different = [], []
    for i in range(len(t)):
        for j in range(i + 1, len(t)):
            distance = sum((a - b) ** 2 for a, b in zip(t[i].tolist(), t[j].tolist(), strict=True)) ** 0.5
            if domains[i] == domains[j]:
                same.append(distance)
            else:
                different.append(max(0.0, margin - distance))
    return tuple(sum(costs) / len(costs) if costs else 0.0 for costs in (same, different))


@given(batches, st.sampled_from([0.5, 1.0, 3.0]))
def test_the_contrastive_loss_is_the_double_loops(batch: tuple[Tensor, Tensor], margin: float) -> None:
    expected = by_double_loop(*batch, margin)
    assert torch.tensor(contrastive(*batch, margin)).tolist() == pytest.approx(expected, abs=1e-6)
    single = contrastive(batch[0].float(), batch[1], margin)
    assert torch.tensor(single).tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@given(batches, st.sampled_from([1e-6, 1e-2]))
def test_the_regulariser_is_the_divergence_that_torch_computes(
    batch: tuple[Tensor, Tensor], floor: float
) -> None:
    t, eye = batch[0], torch.eye(batch[0].shape[1], dtype=torch.float64)
    covariance = torch.cov(t.T).reshape(eye.shape) + floor * eye
    expected = kl_divergence(
        MultivariateNormal(t.mean(0), covariance), MultivariateNormal(torch.zeros(len(eye)).double(), eye)
    )
    torch.testing.assert_close(gaussian(t, floor), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("t_dim", [1, 2, 3])
def test_gradients_agree_with_finite_differences(t_dim: int) -> None:
    t = torch.randn(7, t_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(t_dim))
    domains = torch.arange(7) % 3
    t.requires_grad_()
    assert torch.autograd.gradcheck(lambda t: contrastive(t, domains, 1.3), (t,))
    assert torch.autograd.gradcheck(lambda t: gaussian(t, 1e-3), (t,))


def test_gradients_are_finite_where_t_are_equal() -> None:
    t = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [0.5, 2.0]], requires_grad=True)
    loss = sum(contrastive(t, torch.tensor([0, 0, 1, 1]), 1.0)) + gaussian(t, 1e-6)
    loss.backward()
    assert torch.isfinite(t.grad).all()
    assert t.grad.any()
    flat = torch.ones(4, 3, requires_grad=True)
    (sum(contrastive(flat, torch.tensor([0, 0, 1, 1]), 1.0)) + gaussian(flat, 1e-6)).backward()
    assert torch.isfinite(flat.grad).all()


def test_the_same_seed_gives_the_same_product_and_another_seed_another(
    tmp_path: Path, data: Path, artifact: Path
) -> None:
    assert product(made(tmp_path / "again", parameters(), data)) == product(artifact)
    other = product(made(tmp_path / "other", parameters(seed=1), data))
    assert all(other[name] != held for name, held in product(artifact).items())


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_a_killed_training_ends_with_the_same_bytes(
    tmp_path: Path, data: Path, artifact: Path, steps: int
) -> None:
    with pytest.raises(Killed):
        train.run(parameters(), {"data": data}, tmp_path, killed_after(steps))
    done: list[int] = []
    train.run(parameters(), {"data": data}, tmp_path, lambda step, total, what: done.append(step))
    assert done[0] == steps // 2 * 2 + 1, "it goes on from the last checkpoint"
    assert done[-1] == 9, "three epochs of 90 images in batches of 30"
    assert product(tmp_path) == product(artifact)


def test_a_training_with_a_damaged_checkpoint_starts_afresh(
    tmp_path: Path, data: Path, artifact: Path
) -> None:
    with pytest.raises(Killed):
        train.run(parameters(), {"data": data}, tmp_path, killed_after(3))
    checkpoint = tmp_path / "scratch" / CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    done: list[int] = []
    with pytest.warns(Remark, match=f"the checkpoint {checkpoint} is damaged"):
        train.run(parameters(), {"data": data}, tmp_path, lambda step, total, what: done.append(step))
    assert done[0] == 1
    assert product(tmp_path) == product(artifact)


def test_labels_are_never_read(tmp_path: Path, data: Path, artifact: Path) -> None:
    blind = tmp_path / "blind"
    shutil.copytree(data, blind)
    for domain in LEVELS:
        (blind / f"{domain}.labels.npy").write_bytes(b"garbage")
    assert product(made(tmp_path / "made", parameters(), blind)) == product(artifact)


def test_times_are_those_of_the_saved_predictor(data: Path, artifact: Path) -> None:
    predictor = make_predictor(parameters(seed=5))
    predictor.load_state_dict(load_file(artifact / "predictor.safetensors"))
    table = read_times(artifact / FILE)
    assert list(table) == ["domain", "split", "name", "t0", "t1"]
    assert len(table) == 120
    for domain, split in ((GREY, "train"), (BRIGHT, "test")):
        images = load_unlabelled(data, domain, split)
        backwards = images.take(np.arange(len(images))[::-1])
        t = times_of(artifact, domain, split, backwards.names)
        np.testing.assert_allclose(t, predictor.predict(backwards.images), rtol=1e-5, atol=1e-6)
        assert t.dtype == np.float32
    with pytest.raises(UserError, match=r"has no t of 1 of 1 images of dark \(test\), such as 00;"):
        times_of(artifact, DARK, "test", ["00"])


def test_the_summary_says_what_the_table_does(artifact: Path) -> None:
    about, table = json.loads((artifact / "summary.json").read_text()), pd.read_csv(artifact / FILE)
    test = table[table["split"] == "test"]
    assert about["silhouette"] == pytest.approx(silhouette_score(test[["t0", "t1"]], test["domain"]))
    grey = table[table["domain"] == GREY]
    assert about["domains"][GREY]["images"] == 40
    assert about["domains"][GREY]["mean"] == pytest.approx(grey[["t0", "t1"]].mean().tolist())
    assert about["domains"][GREY]["std"] == pytest.approx(np.std(grey[["t0", "t1"]].to_numpy(), axis=0))
    assert about["low"] == pytest.approx(table[["t0", "t1"]].min().tolist())
    assert not about["degenerate"]


def test_losses_are_told_part_by_part(tmp_path: Path, data: Path, artifact: Path) -> None:
    curve = pd.read_csv(artifact / "losses.csv")
    assert list(curve) == ["step", "loss", "same", "different"]
    np.testing.assert_allclose(curve["loss"], curve["same"] + curve["different"], rtol=1e-4)
    drawn = pd.read_csv(made(tmp_path, parameters(gaussian=0.1), data) / "losses.csv")
    parts = drawn[["same", "different", "gaussian"]]
    np.testing.assert_allclose(drawn["loss"], parts.sum(axis=1), rtol=1e-4)


def test_a_degenerate_predictor_is_told_with_its_numbers(tmp_path: Path, data: Path) -> None:
    frozen = make_predictor(parameters())
    weights = {name: torch.zeros_like(value) for name, value in frozen.backbone.state_dict().items()}
    save_file(weights, tmp_path / "dead.safetensors")  # all features are 0
    dead = parameters(pretrained=str(tmp_path / "dead.safetensors"), learning_rate=1e-12)
    with pytest.warns(
        UserWarning, match=r"of dark, grey, bright is degenerate: .* spread of 0 \(at most 0.01\)"
    ):
        made(tmp_path / "dead", dead, data)
    about = json.loads((tmp_path / "dead" / "summary.json").read_text())
    assert about["degenerate"]
    assert about["spread"] == 0
    assert about["silhouette"] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(tmp_path / "alive", parameters(), data)


@pytest.mark.parametrize("look_every", [1, 100])
def test_a_step_waits_for_no_number(
    tmp_path: Path, data: Path, look_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = train.PredictorTraining._step

    def watched(self: train.PredictorTraining, number: int, images: Tensor, domains: Tensor) -> None:
        if number == 0:  # makes the optimizer's state
            step(self, number, images, domains)
            return
        counters = [state["step"] for state in self.optimizer.state.values()]
        with nothing_is_waited_for(monkeypatch, but_of=counters):
            step(self, number, images, domains)

    made(tmp_path / "plain", parameters(), data)
    monkeypatch.setattr(train.PredictorTraining, "_step", watched)
    monkeypatch.setitem(LOOK_EVERY, "cpu", look_every)
    made(tmp_path / "watched", parameters(), data)
    for file in ("predictor.safetensors", "losses.csv"):
        assert (tmp_path / "watched" / file).read_bytes() == (tmp_path / "plain" / file).read_bytes()


def test_what_cannot_be_trained_is_refused_in_words(tmp_path: Path, data: Path) -> None:
    with pytest.raises(UserError, match=r"loss became \w+ at step \d; lower t_predictor.learning_rate"):
        made(tmp_path, parameters(learning_rate=1e30, epochs=5), data)
    with pytest.raises(UserError, match=r"t_predictor\.pretrained: the hub has no weights of digits_cnn"):
        make_predictor(parameters(pretrained="hub"))
    with pytest.raises(
        UserError, match="test_vit takes only images of 160 pixels, not the 32 of the dataset"
    ):
        make_predictor(parameters(backbone="test_vit"))


def test_any_backbone_of_timm_can_predict(tmp_path: Path, data: Path) -> None:
    made(tmp_path, parameters(3, (DARK, BRIGHT), backbone="test_resnet", epochs=1), data)
    assert list(read_times(tmp_path / FILE)) == ["domain", "split", "name", "t0", "t1", "t2"]


def test_the_settings_know_the_hash_of_their_weights(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    settings = TPredictorSettings(backbone="digits_cnn", pretrained=str(file))
    with pytest.raises(UserError, match=rf"t_predictor\.pretrained: there is no file {file}"):
        config.resolve_t_predictor(settings)
    hashes = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        save_file(DigitsCnn().state_dict(), file)
        hashes.append(config.resolve_t_predictor(settings).pretrained_sha256)
    assert len(set(hashes)) == 2
    assert None not in hashes
    stated = settings.model_copy(update={"pretrained_sha256": hashes[0]})
    with pytest.raises(UserError, match=r"but t_predictor\.pretrained_sha256 is"):
        config.resolve_t_predictor(stated)
    assert config.resolve_t_predictor(TPredictorSettings()).pretrained_sha256 is None


def test_domains_of_digits_are_told_apart(tmp_path: Path, digits_artifact: Path) -> None:
    """The silhouette is high for one held-out domain, at cheaper settings than benchmarks/digits_dg.yaml."""
    params = parameters(2, ("MN", "UC", "SY"), batch_size=256, epochs=2)
    about = json.loads((made(tmp_path, params, digits_artifact) / "summary.json").read_text())
    assert about["silhouette"] >= 0.5
