"""`doctor`: what is there, what is not, the command that gets it, and whether a suite can be run."""

import json
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from pipeline import cli, config, doctor
from pipeline.config import BaseModelSpec, Suite

DIGITS = config.read_suite("digits")


def findings(tmp_path: Path, *suites: Suite) -> dict[tuple[str, str], doctor.Finding]:
    return {(one.group, one.what): one for one in doctor.examine(tmp_path, suites or (DIGITS,))}


def test_here_digits_can_be_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--store", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "digits: can be run" in out
    for what in ("python", "cpu", "gpu", "disk", "torch", "cluster", "wandb", "dataset"):
        assert f" {what} " in out


def test_a_package_that_is_missing_or_too_old_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def installed(name: str) -> str:
        if name in ("peft", "ray"):
            raise PackageNotFoundError(name)
        return "1.0" if name == "numpy" else version(name)

    monkeypatch.setattr(doctor, "version", installed)
    assert cli.main(["doctor", "--json", "--store", str(tmp_path)]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ready"] is False
    missing = {one["what"]: one for one in told["findings"] if one["missing"]}
    assert missing["peft"]["get"].endswith("-m pip install 'peft>=0.18'")
    assert missing["numpy"]["found"].startswith("1.0, but")
    assert ">=2.0" in missing["numpy"]["found"]
    assert missing["cluster"]["get"].endswith("-m pip install 'ray>=2.49'")
    assert missing["cluster"]["suites"] == []  # nothing is kept from running by an extra
    assert cli.main(["doctor", "--store", str(tmp_path)]) == 1
    assert "digits: lacks peft, numpy" in capsys.readouterr().out


def test_weights_of_the_hub_are_looked_for_in_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    hub = DIGITS.model_copy(update={"base_model": BaseModelSpec(name="someone/model", resolution=512)})
    absent = findings(tmp_path, hub)["base model", "someone/model"]
    assert absent.missing
    assert "DiffusionPipeline.download('someone/model', use_safetensors=True)" in absent.get
    assert doctor.wanting([absent], "digits") == [absent]
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, file: f"/cache/{repo}/{file}")
    assert not findings(tmp_path, hub)["base model", "someone/model"].missing


def test_what_a_suite_of_sdxl_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU, both weights and the package of its optimiser; without adapters, none of it."""

    def installed(name: str) -> str:
        if name == "bitsandbytes":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor, "version", installed)
    monkeypatch.setattr(doctor.hardware, "gpus", lambda: ())
    tuned = DIGITS.finetune.model_copy(update={"optimizer": "adamw8bit"})
    suite = DIGITS.model_copy(update={"base_model": BaseModelSpec(name="sdxl"), "finetune": tuned})
    found = findings(tmp_path, suite)
    lacks = [
        ("machine", "gpu"),
        ("extra", "gpu"),
        ("base model", "stabilityai/stable-diffusion-xl-base-1.0"),
        ("vae", "madebyollin/sdxl-vae-fp16-fix"),
    ]
    assert [(one.group, one.what) for one in doctor.wanting(list(found.values()), "digits")] == lacks
    assert "pip install 'bitsandbytes" in found["extra", "gpu"].get
    assert "--cpu" in found["machine", "gpu"].get
    plain = findings(tmp_path, suite.model_copy(update={"augmentations": ["none"]}))
    assert doctor.wanting(list(plain.values()), "digits") == []


def test_weights_in_files_and_folders(tmp_path: Path) -> None:
    def looked_for(**changes: object) -> doctor.Finding:
        suite = DIGITS.model_copy(update=changes)
        return next(
            one
            for one in doctor.examine(tmp_path, [suite])
            if one.group in ("base model", "backbone") and str(tmp_path) in one.what
        )

    folder, file = tmp_path / "model", tmp_path / "net.safetensors"
    train = {"train": DIGITS.train.model_copy(update={"backbone": "resnet50", "pretrained": str(file)})}
    model = {"base_model": BaseModelSpec(name=str(folder))}
    assert looked_for(**train).missing
    assert looked_for(**model).missing
    file.write_bytes(b"")
    shutil.copytree(config.MINI, folder)
    assert not looked_for(**train).missing
    assert not looked_for(**model).missing


def test_a_backbone_of_the_hub_is_one_of_timms(tmp_path: Path) -> None:
    train = DIGITS.train.model_copy(update={"backbone": "resnet50.tv_in1k", "pretrained": "hub"})
    found = findings(tmp_path, DIGITS.model_copy(update={"train": train}))
    assert found["backbone", "timm/resnet50.tv_in1k"].get == "hf download timm/resnet50.tv_in1k"


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    disk = findings(tmp_path / "not" / "yet")["machine", "disk"]
    assert disk.missing
    assert "--store" in disk.get


def test_a_data_set_of_files_is_in_place_or_is_to_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERRABENCH_DATA", str(tmp_path / "data"))
    absent = findings(tmp_path, DIGITS.model_copy(update={"dataset": "pacs"}))["dataset", "pacs"]
    assert absent.missing
    assert absent.suites == ("digits",)
    assert "datasets fetch pacs" in absent.get
    place = tmp_path / "data" / "pacs"
    place.mkdir(parents=True)
    (place / config.IN_PLACE).write_text('{"content": "0123"}')
    assert not findings(tmp_path)["dataset", "pacs"].missing


def test_a_broken_card_or_suite_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, name in (("datasets", "pacs"), ("benchmarks", "mine")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.yaml").write_text("name: x\n")
    assert cli.main(["doctor", "--store", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "digits: can be run" in out
    assert "-- dataset    pacs                         pacs.yaml cannot be used" in out
    assert "-- suite      mine                         mine.yaml cannot be used" in out


def test_a_set_that_cannot_be_fetched_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERRABENCH_DATA", str(tmp_path / "data"))
    found = findings(tmp_path)["dataset", "vlcs"]
    assert "datasets import vlcs FOLDER" in found.get
    assert "fetch" not in found.get


def test_what_run_refuses_plan_and_doctor_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "known_suites", list)  # seconds for each call
    monkeypatch.setattr(doctor, "_broken_suites", lambda: iter(()))
    (tmp_path / "models").mkdir()
    for name in ("one.safetensors", "one.ckpt"):
        (tmp_path / "models" / name).write_bytes(b"weights")
    shutil.copytree(config.MINI, tmp_path / "models" / "whole")
    shutil.copytree(config.MINI, tmp_path / "models" / "part")
    for weights in (tmp_path / "models" / "part" / "unet").glob("*.safetensors"):
        weights.unlink()
    (tmp_path / "models" / "empty").mkdir()

    def refusal(line: str) -> str:
        Path("mine.yaml").write_text(f"extends: digits_smoke\nname: mine\n{line}\n")
        doctor_code = cli.main(["doctor", "mine.yaml"])
        out = capsys.readouterr().out
        plan_code = cli.main(["plan", "mine.yaml"])
        err = capsys.readouterr().err
        assert ("mine: can be run" in out, doctor_code) == (plan_code == 0, int(plan_code != 0))
        assert err.count("\n") <= 1
        return err

    def model(name: object) -> str:
        return refusal(f"base_model: {{name: {name}, resolution: 32}}")

    for name in ("models/one.safetensors", "~/models/one.ckpt", tmp_path / "models" / "one.ckpt"):
        assert "is a single file" in model(name)
    assert "there is no file models/two.safetensors" in model("models/two.safetensors")
    assert "has no model_index.json" in model("models/empty")
    assert "unet has no weights" in model("~/models/part")
    assert "there is no folder" in model("~/models/none")
    assert "neither a folder nor a hub id" in model("a/b/c")
    assert model("~/models/whole") == ""
    assert model("models/whole") == ""
    assert "there is no method 'NOPE'" in refusal("methods: [NOPE]")
    assert "takes no hyper-parameter 'rho'" in refusal("methods: [{name: ERM, hyperparameters: {rho: 1}}]")
    assert "Ar" in refusal("tasks: ['Ar->Cl']")
