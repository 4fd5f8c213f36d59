"""Methods as people write them today, on the interface alone: each is one short file without tricks."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.classify import plugins, registry
from pipeline.classify.training.stage import _make_loop
from pipeline.core.errors import UserError
from pipeline.core.paths import ROOT
from pipeline.core.reproducibility import reproducible
from tests.classify.train_samples import killed_and_resumed, parameters, products

Make = Callable[..., Path]

PAGE = (ROOT / "docs" / "extend" / "method.md").read_text(encoding="utf-8")

EXAMPLES = {
    re.search(r'@method\("(\w+)"\)', text).group(1): text
    for text in [
        *(path.read_text() for path in sorted((Path(__file__).parent / "examples").glob("[a-z]*.py"))),
        *re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL),
    ]
}
"""The examples of the documentation and of this folder, by the names of the methods."""


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """The examples as plug-ins in use."""
    paths = {name: tmp_path / f"{name}.py" for name in EXAMPLES}
    for name, path in paths.items():
        path.write_text(EXAMPLES[name])
    registry.use([plugins.given(path) for path in paths.values()])
    yield paths
    registry.use([])


def choice(name: str, **changes: Any) -> dict[str, Any]:
    return {"method": name, "iterations": 14, "bottleneck": 8, "evaluate_every": 5} | changes


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_short_and_uses_no_trick(name: str) -> None:
    text = EXAMPLES[name]
    assert len(text.splitlines()) < 40
    assert not re.search(r"hook|hasattr|\b_\w+\(|import _", text)
    imported = re.findall(r"from (pipeline\.[\w.]+) import", text)
    assert set(imported) <= {
        "pipeline.classify.method",
        "pipeline.classify.registry",
        "pipeline.classify.network",
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_kill_anywhere_changes_no_byte(tmp_path: Path, train: Make, prepared: Make, name: str) -> None:
    inputs = {"data": prepared()}
    whole = products(train(inputs, **choice(name)))
    kills = sorted(np.random.default_rng(0).integers(1, 14, 3).tolist())
    assert killed_and_resumed(choice(name), inputs, tmp_path / "killed", *kills) == whole
    other = products(train(inputs, **choice(name, method="ERM")))
    assert whole["model.safetensors"] != other["model.safetensors"]


KILLING = """
import os, signal, sys
from pathlib import Path
from pipeline.classify import plugins, registry
from pipeline.classify.training.stage import run
from pipeline.core.paths import ROOT
from pipeline.core.reproducibility import reproducible
from tests.classify.train_samples import parameters

plugin, method, data, workspace, last = sys.argv[1:]
registry.use([plugins.given(Path(plugin))])

def progress(done, total, what):
    if done == int(last):
        os.kill(os.getpid(), signal.SIGKILL)

choice = dict(method=method, iterations=14, bottleneck=8, evaluate_every=5)
run(parameters(**choice), {"data": Path(data)}, Path(workspace), progress)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_kill_9_at_a_random_step_changes_no_byte(
    tmp_path: Path, train: Make, prepared: Make, files: dict[str, Path], name: str
) -> None:
    data, workspace = prepared(), tmp_path / "killed"
    whole = products(train({"data": data}, **choice(name)))
    step = int.from_bytes(os.urandom(2), "big") % 13 + 1
    for last, status in ((step, -signal.SIGKILL), (0, 0)):
        command = [sys.executable, "-c", KILLING, files[name], name, data, workspace, last]
        ended = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120)
        assert ended.returncode == status, ended.stderr
    assert products(workspace) == whole, f"killed after step {step}"


@pytest.mark.parametrize("name", ["MyNRC", "MySHOT"])
def test_a_source_free_method_reads_no_source_image_after_its_first_phase(
    prepared: Make, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = _make_loop(parameters(**choice(name)), prepared(), {}, tmp_path / "checkpoint")
    kind, reads = type(loop.labelled.source), []

    def watched(read: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: object, *arguments: Any) -> Any:
            if self is loop.labelled.source:
                reads.append(loop.done)
            return read(self, *arguments)

        return call

    for way in ("augmented", "batches"):
        monkeypatch.setattr(kind, way, watched(getattr(kind, way)))
    loop.run(lambda *_: None)
    assert reads == list(range(7))


def test_a_teacher_is_what_is_evaluated_and_saved(train: Make, prepared: Make, tmp_path: Path) -> None:
    params = parameters(**choice("MyMIC"))
    data = prepared()
    with reproducible(params.threads):
        loop = _make_loop(params, data, {}, tmp_path / "checkpoint")
        loop.run(lambda *_: None)
    workspace = train({"data": data}, **choice("MyMIC"))
    saved = load_file(workspace / "model.safetensors")
    for name, value in loop.method.teacher.network.state_dict().items():
        assert torch.equal(saved[name], value), name
    assert not torch.equal(saved["head.weight"], loop.network.head.weight)
    assert loop.evaluations[-1].probabilities.shape == (15, 3)


def test_a_phase_without_labelled_images_has_none_to_look_at(prepared: Make, tmp_path: Path) -> None:
    loop = _make_loop(parameters(**choice("MySHOT")), prepared(), {}, tmp_path / "checkpoint")
    loop.method.look = lambda look: look.labelled()
    with pytest.raises(UserError, match=r"^method MySHOT: phase 'target' is without labelled images to look"):
        loop.run(lambda *_: None)


def test_a_frozen_group_keeps_its_weights_and_momentum_starts_anew(prepared: Make, tmp_path: Path) -> None:
    loop = _make_loop(parameters(**choice("MySHOT")), prepared(), {}, tmp_path / "checkpoint")
    heads, backbones, momenta = [], [], []

    def progress(done: int, total: int, what: str) -> None:
        heads.append(loop.network.head.weight.detach().clone())
        backbones.append(next(loop.network.backbone.parameters()).detach().clone())
        state = loop.optimizer.state[next(loop.network.backbone.parameters())]
        momenta.append(int(state["step"]))

    loop.run(progress)
    assert momenta == [*range(1, 8), *range(1, 8)]
    assert all(torch.equal(head, heads[6]) for head in heads[6:])
    assert not torch.equal(heads[5], heads[6])
    assert not torch.equal(backbones[-1], backbones[6])
