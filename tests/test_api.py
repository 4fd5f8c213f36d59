"""The Python API: the notebook of docs/api_example.md runs as it stands."""

import math
import multiprocessing
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from pipeline import api
from pipeline.config import AdapterSpec
from pipeline.core.paths import ROOT
from pipeline.diffusion.adapters import make_adapter
from pipeline.execution import local_executor

NOTEBOOK = ROOT / "docs" / "api_example.md"

SMALL = "extends: digits_smoke\nname: small\nmethods: [ERM]\naugmentations: [none]\n"


def cells() -> list[tuple[int, str]]:
    """The Python blocks of the notebook, each with its first line."""
    text = NOTEBOOK.read_text()
    return [
        (text.count("\n", 0, found.start(1)), found[1])
        for found in re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]


def put_in_store(suite: api.OpenedSuite, digits: Path) -> None:
    """Make the prepared digits an artifact, which takes a worker half a minute."""
    job = suite.plan.data
    workspace = suite.store.workspace(job.kind, job.key)
    shutil.copytree(digits, workspace, dirs_exist_ok=True)
    about = {"label": job.label, "params": job.params.model_dump(mode="json"), "inputs": {}, "seconds": 1.0}
    suite.store.commit(job.kind, job.key, about | {"device": "cpu", "made_with": {}, "remarks": []})


@pytest.mark.slow
def test_the_notebook_runs_as_it_stands(
    digits_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion"])
    monkeypatch.setattr(local_executor, "CONTEXT", server)
    names: dict[str, Any] = {}
    for line, cell in cells():
        exec(compile("\n" * line + cell, str(NOTEBOOK), "exec"), names)
        if "suite" in names and not Path("my_results/store/artifacts").exists():
            put_in_store(names["suite"], digits_artifact)
    assert names["first"].made == ["train MN->UC ERM none seed 0"]
    assert len(names["rest"].made) == 4
    assert not names["first"].failed
    table = api.accuracy_table(names["suite"])
    assert list(table["augmentation"]) == ["none", "terra"]
    records = names["records"]
    assert list(table["MN->UC"]) == list(records[records["selection"] == "last"]["accuracy"])
    assert names["source"].tobytes() != names["target"].tobytes()
    probabilities = names["predictions"][names["suite"].plan.card.classes]
    assert probabilities.sum(axis=1).round(5).tolist() == [1.0]


def test_importing_the_api_imports_neither_torch_nor_pandas() -> None:
    code = "import sys; from pipeline import api; sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60).returncode == 0


def test_all_that_is_public_is_named_and_described() -> None:
    own = {name for name, value in vars(api).items() if getattr(value, "__module__", "") == api.__name__}
    assert own | {"OpenedSuite", "RunOutcome", "UserError"} == set(api.__all__)
    assert all(getattr(api, name).__doc__ for name in api.__all__)


def test_mistakes_are_sentences(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    suite = api.open_suite(path, store=tmp_path / "store", results=tmp_path / "results")
    assert suite.folder == tmp_path / "results" / "small"
    assert api.read_records(suite).empty
    for call, told in {
        (lambda: api.open_suite("digit")): "did you mean 'digits'",
        (lambda: api.plan_suite(suite, only="task=MN->XX")): "has no such task",
        (lambda: suite.artifact("train")): "has no job 'train'",
        (lambda: suite.artifact("prepare digits")): "is not finished",
        (lambda: api.accuracy_table(suite, selection="best")): "has no selection 'best'",
        (lambda: api.predict(tmp_path, [])): "is not the artifact of a training",
        (lambda: api.read_records(tmp_path)): "does not exist",
    }.items():
        with pytest.raises(api.UserError, match=re.escape(told)):
            call()


@pytest.mark.parametrize("t", [math.nan, math.inf, [0.5, math.nan]])
def test_a_time_that_is_no_number_is_refused(t: float | list[float]) -> None:
    adapter = make_adapter(nn.Sequential(nn.Linear(3, 4)), AdapterSpec(rank=2), 0)
    with pytest.raises(api.UserError, match="expected a finite number"):
        api.set_t(adapter, t)


def test_what_is_no_adapter_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """A key, the folder of another kind of artifact, and a manifest."""
    training = tmp_path / "train" / "0123"
    training.mkdir(parents=True)
    (training / "manifest.json").write_text("{}")
    pipeline = type("Pipeline", (), {"unet": nn.Module()})()
    for named in ("b9a37f14adbca27077bf7161", training):
        with pytest.raises(
            api.UserError, match=rf"no adapter .*{Path(named).name}.*give the folder of a fine"
        ):
            api.load_adapter(pipeline, named)
    with pytest.raises(api.UserError, match=r"manifest.json can't be read as safetensors"):
        api.load_adapter(pipeline, training / "manifest.json")
