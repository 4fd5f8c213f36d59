"""Runs with a plug-in: a training that diverges, and a plug-in that fails to import."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.classify import plugins
from pipeline.config import read_card
from pipeline.core.hardware import Capacity
from pipeline.core.job import Job
from pipeline.core.store import Store
from pipeline.execution.local_executor import execute
from pipeline.execution.worker import Message
from pipeline.planning.kinds.prepare import PrepareParams
from pipeline.report import records
from tests.classify.plugin_samples import TEXT, write_suite
from tests.classify.train_samples import parameters


class Listening:
    """A Watcher that keeps what it is told of failures."""

    def __init__(self) -> None:
        self.details: dict[str, str] = {}

    def started(self, job: Job) -> None: ...
    def progressed(self, job: Job, message: Message) -> None: ...
    def finished(self, job: Job) -> None: ...
    def noted(self, text: str) -> None: ...

    def failed(self, job: Job, reason: str, detail: str) -> None:
        self.details[reason] = detail


@pytest.mark.slow
def test_a_training_that_diverges_is_recorded_as_failed_and_the_others_go_on(
    tmp_path: Path, plugin: Path, prepared: Callable[..., Path]
) -> None:
    plugin.write_text(TEXT.replace("self.weight", '(float("nan") if step.progress > 0.5 else self.weight)'))
    suite = write_suite(tmp_path, "[{name: Mine, label: Mine too}, ERM]")
    options = [str(suite), "--plugin", str(plugin), "--store", str(tmp_path / "store")]
    options += ["--results", str(tmp_path / "results"), "--quiet"]
    plan, store, folder = cli.open_suite(cli.build_parser().parse_args(["plan", *options]))
    data = prepared()
    for path in data.iterdir():  # the tiny domains S and T in the places of those that the suite names
        renamed = path.name.replace("S.", "MN.").replace("T.", "UC.")
        shutil.copy(path, store.workspace("prepare", plan.data.key) / renamed)
    store.commit("prepare", plan.data.key, {"seconds": 0})

    assert cli.main(["run", *options, "--workers", "1"]) == 1
    read = records.read(folder / "records.csv")
    assert dict(zip(read["method"], read["status"], strict=True)) == {"Mine too": "failed", "ERM": "done"}
    assert len(read) == 2 * 3
    (reason,) = set(read[read["method"] == "Mine too"]["reason"])
    assert reason.startswith(
        "method Mine: the loss became nan at step 12 of 20; try a lower train.learning_rate"
    )
    kept = store.workspace("train", plan.cells[0].job.key) / "scratch" / "checkpoint.pt"
    assert f"the last good checkpoint, {kept}, is kept" in reason
    assert kept.exists()
    table = (folder / "tables" / "accuracy_last.md").read_text()
    assert "Missing: 1 of 2 trainings, 1 of them failed" in table

    assert cli.main(["tables", *options]) == 0
    assert records.read(folder / "records.csv").equals(read)
    plugin.write_text(TEXT)  # another text is another training
    assert cli.main(["run", *options, "--workers", "1"]) == 0
    assert set(records.read(folder / "records.csv")["status"]) == {"done"}


@pytest.mark.slow
def test_a_worker_trains_by_a_plugin_and_goes_on_where_another_fails(
    tmp_path: Path, plugin: Path, prepared: Callable[..., Path]
) -> None:
    store = Store(tmp_path / "store")
    data = Job("prepare", PrepareParams(card=read_card("digits")), {}, "prepare")
    shutil.copytree(prepared(), store.workspace("prepare", data.key), dirs_exist_ok=True)
    store.commit("prepare", data.key, {"seconds": 0})
    broken = plugin.with_name("broken.py")
    broken.write_text("import no_such_module\n" + TEXT)
    mine = parameters(method="Mine", iterations=2)
    todo = [
        Job("train", mine, {"data": data}, "broken", plugins.given(broken)),
        Job("train", mine, {"data": data}, "whole", plugins.given(plugin)),
        Job("train", parameters(iterations=2), {"data": data}, "ERM"),
    ]
    listening = Listening()
    outcome = execute(todo, store, Capacity(cpus=1), listening)

    assert [job.label for job in outcome.made] == ["whole", "ERM"]
    ((reason, detail),) = listening.details.items()
    assert reason.startswith(
        f"ImportError: plug-in {broken} can't be imported: ModuleNotFoundError: No module"
    )
    assert f'File "{broken}", line 1, in <module>\n    import no_such_module' in detail
    by_plugin, built_in = (store.manifest("train", job.key) for job in todo[1:])
    assert by_plugin["plugin"] == {"file": "my_method.py", "sha256": plugins.given(plugin).sha256}
    assert "plugin" not in built_in
