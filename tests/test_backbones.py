"""Backbones: their pretrained weights, frozen BatchNorm, and what is refused, in which words."""

from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline import config
from pipeline.backbones import DigitsCnn, check_backbone
from pipeline.classify.network import Network, build_network
from pipeline.config import TrainSettings
from pipeline.core.errors import UserError
from pipeline.planning.graph import make_plan

Make = Callable[..., Path]


def settings(**changes: object) -> TrainSettings:
    return TrainSettings(**{"backbone": "test_resnet", "iterations": 1} | changes)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Those of a small model of timm with its head."""
    torch.manual_seed(3)
    return timm.create_model("test_resnet", num_classes=5).state_dict()


@pytest.mark.parametrize("form", ["plain.safetensors", "plain.pth", "nested.pth"])
def test_weights_of_a_file_without_its_head(tmp_path: Path, weights: dict[str, Tensor], form: str) -> None:
    path = tmp_path / form
    if form == "plain.safetensors":
        save_file(weights, path)
    else:
        torch.save({"state_dict": weights} if form == "nested.pth" else weights, path)
    network = build_network(settings(pretrained=str(path), bottleneck=8), 3, seed=0)
    loaded = network.backbone.state_dict()
    assert {name for name in weights if name not in loaded} == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, weights[name]) for name, value in loaded.items())
    fresh = build_network(settings(bottleneck=8), 3, seed=0)
    assert not torch.equal(fresh.backbone.conv1[0].weight, network.backbone.conv1[0].weight)
    assert torch.equal(build_network(settings(bottleneck=8), 3, seed=0).head.weight, fresh.head.weight)


def test_weights_that_count_no_batches(tmp_path: Path) -> None:
    old = {name: value for name, value in DigitsCnn().state_dict().items() if "num_batches" not in name}
    save_file(old, tmp_path / "old.safetensors")
    network = build_network(
        settings(backbone="digits_cnn", pretrained=str(tmp_path / "old.safetensors")), 3, seed=0
    )
    assert torch.equal(network.backbone[0].weight, old["0.weight"])


def test_position_embeddings_of_a_file_are_resampled_as_timm_does(tmp_path: Path) -> None:
    torch.manual_seed(4)
    path = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit", num_classes=5).state_dict(), path)
    fitted = settings(backbone="test_vit", pretrained=str(path), resample_positions=True)
    network = build_network(fitted, 3, seed=0, image_size=64)
    assert network.image_size == 64
    theirs = timm.create_model(
        "test_vit", pretrained=True, pretrained_cfg_overlay={"file": str(path)}, num_classes=0, img_size=64
    )
    for name, value in theirs.state_dict().items():
        assert torch.equal(network.backbone.state_dict()[name], value), name
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(network.eval().features(images), theirs.eval()(images))
    as_it_is = build_network(fitted.model_copy(update={"resample_positions": False}), 3, 0, image_size=64)
    assert as_it_is.image_size == 160


@pytest.mark.parametrize(
    ("name", "side", "words"),
    [
        ("test_vit", 60, "test_vit cuts images into patches of 16 pixels, which do not divide 60"),
        ("resnet18", 64, "resnet18 has no position embeddings; leave resample_positions out"),
        ("digits_cnn", 32, "digits_cnn has no position embeddings"),
    ],
)
def test_position_embeddings_that_cannot_be_resampled_are_refused(name: str, side: int, words: str) -> None:
    with pytest.raises(UserError, match=rf"train.resample_positions: {words}"):
        build_network(settings(backbone=name, resample_positions=True), 3, seed=0, image_size=side)


class Hostile:
    """What runs a command when it is unpickled."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("ran"),)


def test_files_refused_in_words(
    tmp_path: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wide = weights | {"layer1.0.conv1.weight": torch.zeros(2, 3)}
    files = {
        "wide.safetensors": (
            wide,
            r"layer1.0.conv1.weight is \[2, 3\] in the file and \[\d+, .*\] in the net",
        ),
        "less.safetensors": ({"fc.weight": torch.ones(1)}, r"conv1.0.weight is absent in the file and \["),
        "more.pth": (
            weights | {"extra": torch.ones(2)},
            r"extra is \[2\] in the file and absent in the network",
        ),
        "nan.pth": (
            weights | {"conv1.0.weight": torch.full_like(weights["conv1.0.weight"], torch.nan)},
            "the tensor conv1.0.weight holds NaN or infinity",
        ),
        "hostile.pth": ({"conv1": Hostile()}, "can't be read as weights"),
    }
    for name, (held, words) in files.items():
        (save_file if name.endswith("safetensors") else torch.save)(held, name)
        with pytest.raises(UserError, match=rf"train.pretrained: {name}.*{words}"):
            build_network(settings(pretrained=name), 3, seed=0)
    Path("cut.safetensors").write_bytes(Path("wide.safetensors").read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cut.safetensors can't be read as weights"):
        build_network(settings(pretrained="cut.safetensors"), 3, seed=0)
    with pytest.raises(UserError, match=r"none.pth: there is no such file"):
        build_network(settings(pretrained="none.pth"), 3, seed=0)
    with pytest.raises(UserError, match=r"more.pth was changed after this run began"):
        build_network(settings(pretrained="more.pth", pretrained_sha256="0" * 64), 3, seed=0)
    assert not Path("ran").exists()


def test_weights_of_the_hub_with_nan_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def damaged(name: str, pretrained: bool, **rest: object) -> torch.nn.Module:
        model = create(name, pretrained=False, **rest)
        if pretrained:
            with torch.no_grad():
                next(model.parameters())[0] = torch.nan
        return model

    monkeypatch.setattr(timm, "create_model", damaged)
    build_network(settings(backbone="test_resnet", pretrained=None), 3, seed=0)
    with pytest.raises(UserError, match=r"train.pretrained: test_resnet of the hub: the tensor .* holds NaN"):
        build_network(settings(backbone="test_resnet", pretrained="hub"), 3, seed=0)


def test_a_hub_out_of_reach_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("test_resnet", "resnet50.tv_in1k"):
        with pytest.raises(
            UserError, match=rf"weights of {name} can't be had from the hub \(.*the path of a"
        ):
            build_network(settings(backbone=name, pretrained="hub"), 3, seed=0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "resnet5",
            "there is no backbone 'resnet5'; there are: digits_cnn, resnet18, .*did you mean 'resnet50'",
        ),
        ("digit_cnn", "did you mean 'digits_cnn'"),
        ("resnet50.tv_in2k", "backbone 'resnet50' has no weights 'tv_in2k'; there are: .*resnet50.tv_in1k"),
    ],
)
def test_names_refused_in_words(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_backbone(name)
    check_backbone("resnet50.tv_in1k")


def test_digits_cnn_has_no_weights_on_the_hub() -> None:
    with pytest.raises(UserError, match=r"train\.pretrained: the hub has no weights of digits_cnn"):
        build_network(settings(backbone="digits_cnn", pretrained="hub"), 3, seed=0)


def test_frozen_batchnorm_keeps_its_statistics_and_learns_its_weights() -> None:
    network = Network(DigitsCnn(), 3, bottleneck=4, frozen_batchnorm=True).train()
    before = {name: value.clone() for name, value in network.named_buffers()}
    network(torch.randn(6, 3, 32, 32))[1].square().sum().backward()
    changed = {name for name, value in network.named_buffers() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in changed} == {"bottleneck"}
    assert all(weight.grad.any() for weight in network.backbone.parameters())
    assert all(layer.training for layer in network.bottleneck)


def test_dropout_is_of_the_features_that_the_head_sees() -> None:
    torch.manual_seed(0)
    network = build_network(settings(backbone="digits_cnn", dropout=0.5), 3, seed=0).train()
    images = torch.randn(8, 3, 32, 32)
    features, logits = network(images)
    torch.testing.assert_close(network.head(features), logits)
    whole = network.bottleneck(network.backbone(images))
    kept = features != 0
    torch.testing.assert_close(features[kept], 2 * whole[kept])
    assert 0.3 < kept.sum() / (whole != 0).sum() < 0.7
    assert (
        network.state_dict().keys()
        == build_network(settings(backbone="digits_cnn"), 3, 0).state_dict().keys()
    )


def test_a_trainings_key_changes_with_its_weights_and_with_nothing_else(
    tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    path = tmp_path / "weights.safetensors"
    suite, card = config.read_suite("digits_smoke"), config.read_card("digits")
    pretrained = suite.methods[1].model_copy(update={"train": {"pretrained": str(path)}})
    suite = suite.model_copy(update={"methods": [suite.methods[0], pretrained]})

    def keys() -> dict[str, str]:
        plan = make_plan(config.resolve_pretrained(suite), card, suite.base_model)
        return {job.label: job.key for job in plan.jobs}

    with pytest.raises(UserError, match=f"method MCC: train.pretrained: there is no file {path}"):
        keys()
    save_file(weights, path)
    before = keys()
    save_file(weights | {"fc.bias": torch.zeros(5)}, path)
    after = keys()
    assert {label for label in before if before[label] != after[label]} == {
        label for label in before if " MCC " in label
    }
    stated = pretrained.model_copy(update={"train": pretrained.train | {"pretrained_sha256": "0" * 64}})
    with pytest.raises(UserError, match=r"has sha256 \w+…, but train.pretrained_sha256 is 0000"):
        config.resolve_pretrained(suite.model_copy(update={"methods": [stated]}))


@pytest.mark.parametrize("backbone", ["digits_cnn", "test_resnet"])
def test_weights_that_a_training_kept_are_those_of_a_backbone(tmp_path: Path, backbone: str) -> None:
    kept = build_network(settings(backbone=backbone, bottleneck=8), 3, seed=1)
    save_file(kept.state_dict(), tmp_path / "model.safetensors")
    path = str(tmp_path / "model.safetensors")
    network = build_network(settings(backbone=backbone, pretrained=path), 5, seed=2)
    loaded, expected = network.backbone.state_dict(), kept.backbone.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)
    other = "test_resnet" if backbone == "digits_cnn" else "digits_cnn"
    with pytest.raises(UserError, match=rf"does not fit backbone {other}"):
        build_network(settings(backbone=other, pretrained=path), 5, seed=2)
