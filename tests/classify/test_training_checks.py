"""What a training refuses of its settings and its dataset is known to `plan`."""

from pathlib import Path

import pytest

from pipeline import config
from pipeline.backbones import make_backbone
from pipeline.classify.training_checks import faults_on_card, fixed_image_size
from pipeline.config import TrainSettings
from pipeline.core.errors import UserError
from pipeline.execution.suite_plan import faults_of, plan_of


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("dataset: office_home\ntrain: {backbone: resnet50}", "augment_shift is for images in memory"),
        ("dataset: office_home\ntrain: {augment_shift: 0}", "digits_cnn takes images of 32 pixels alone"),
        ("train: {backbone: vit_base_patch16_224}", "takes images of 224 pixels alone, not the 32"),
        (
            "methods: [ERM, {name: ERM, label: V, train: {backbone: vit_base_patch16_224}}]",
            "takes images of 224 pixels alone, not the 32",
        ),
        ("train: {backbone: vit_base_patch16_224}", "or set resample_positions: true"),
        (
            "train: {backbone: vit_base_patch14_dinov2.lvd142m}",
            "takes images of 518 pixels alone",
        ),
        (
            "train: {backbone: vit_base_patch14_dinov2.lvd142m, resample_positions: true}",
            "patches of 14 pixels, which do not divide 32",
        ),
        (
            "methods: [MIRO]\ntrain: {processes: 2, frozen_batchnorm: true}",
            "train.processes: method MIRO looks at levels within the backbone",
        ),
        ("train: {processes: 2}", "train.processes: digits_cnn has BatchNorm layers"),
        ("train: {resample_positions: true}", "digits_cnn has no position embeddings"),
        ("train: {backbone: resnet5000}", "there is no backbone 'resnet5000'"),
        ("train: {pretrained: hub}", "the hub has no weights of digits_cnn"),
    ],
)
def test_plan_refuses_what_the_training_would(tmp_path: Path, lines: str, told: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: digits_smoke\nname: mine\ntasks: all\n{lines}\n")
    suite = config.read_suite(path)
    with pytest.raises(UserError, match=told):
        plan_of(suite)
    assert any(told in fault for fault in faults_of(suite))


@pytest.mark.parametrize("name", ["vit_base_patch16_clip_224.openai", "vit_base_patch14_dinov2.lvd142m"])
def test_features_of_clip_and_dinov2_fit_images_of_224_pixels(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"extends: office_home_vit\nname: mine\naugmentations: [none]\n"
        f"train: {{backbone: {name}, resample_positions: true}}\n"
    )
    suite = config.read_suite(path)
    assert list(faults_on_card(suite, config.read_card("office_home"))) == []


@pytest.mark.parametrize("name", ["digits_cnn", "resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_the_fixed_size_is_that_of_the_network(name: str) -> None:
    settings = TrainSettings(backbone=name, iterations=1)
    assert fixed_image_size(name) == getattr(make_backbone(settings, "train"), "image_size", None)
