"""Methods from outside this project: how they are found, their jobs' keys, and what is refused."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.classify import plugins, registry
from pipeline.config import read_card, read_suite
from pipeline.core.errors import UserError
from pipeline.core.job import KINDS
from pipeline.core.paths import ROOT
from pipeline.planning.graph import make_plan
from tests.classify.plugin_samples import TEXT, write_suite


@pytest.fixture(autouse=True)
def none_left_over() -> Iterator[None]:
    yield
    registry.use([])
    for name in [name for name in sys.modules if name.startswith("their_package")]:
        del sys.modules[name]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """The smoke suite with the methods ERM and Mine, and no made images."""
    return write_suite(tmp_path, "[ERM, Mine]")


def install(folder: Path, entry: str) -> None:
    """A package in `folder` as pip would leave it, whose entry points in our group are `entry`."""
    package, about = folder / "their_package", folder / "their_package-1.0.dist-info"
    for made in (package, about):
        made.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported to plan with')\n")
    (package / "their_method.py").write_text(TEXT.replace("Mine", "Theirs"))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[terrabench.methods]\n{entry}\n")


def keys(capsys: pytest.CaptureFixture[str], suite: Path, *files: Path) -> dict[str, str]:
    """Key of every job of a suite, by its label."""
    named = [word for file in files for word in ("--plugin", str(file))]
    assert cli.main(["plan", str(suite), "--json", *named]) == 0
    return {job["label"]: job["key"] for job in json.loads(capsys.readouterr().out)["jobs"]}


def test_a_file_is_declared_and_loaded(plugin: Path) -> None:
    registry.use([plugins.given(plugin)])
    declared = registry.declarations()["Mine"]
    assert (declared.hyperparameters, declared.about) == ({"weight": 0.5, "rounds": 3}, "Mine (me).")
    made = registry.load("Mine")
    assert (made.name, made.weight) == ("Mine", 0.5)
    assert made is registry.load("Mine")
    assert "Mine" in registry.describe_methods()
    assert str(plugin) in registry.describe_methods()
    registry.use([])
    assert "Mine" not in registry.names()


def test_the_text_that_was_read_is_what_runs(plugin: Path) -> None:
    registry.use([plugins.given(plugin)])
    plugin.write_text(TEXT.replace("0.5", "0.7"))
    assert registry.load("Mine").weight == 0.5
    registry.use([plugins.given(plugin)])
    assert registry.load("Mine").weight == 0.7


def test_planning_with_plugins_imports_no_torch(tmp_path: Path, plugin: Path) -> None:
    install(tmp_path / "site", "theirs = their_package.their_method:Theirs")
    suite = write_suite(tmp_path, "[Mine, Theirs]")
    program = (
        f"import sys; sys.path.append({str(tmp_path / 'site')!r}); from pipeline.cli import main;assert "
        f"main(['plan', {str(suite)!r}, '--plugin', {str(plugin)!r}]) == 0; assert 'torch' not in "
        "sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_installed_package_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "theirs = their_package.their_method\nagain = their_package.their_method:Theirs")
    (tmp_path / "their_package" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.use([])
    declared = registry.declarations()["Theirs"]
    assert declared.module == "their_package.their_method"
    assert registry.load("Theirs").__module__ == declared.module
    assert list(registry.plugged_in()) == ["Theirs"]
    registry.use([declared.plugin])  # as a worker is sent it
    assert registry.declarations()["Theirs"].plugin == declared.plugin


def test_a_package_changed_during_a_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "theirs = their_package.their_method")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.use(plugins.installed())
    (tmp_path / "their_package" / "their_method.py").write_text(TEXT)
    with pytest.raises(UserError, match=r"their_method\.py was changed after this run began; run again"):
        registry.load("Theirs")


@pytest.mark.parametrize("module", ["their_package.no_method", "no_package"])
def test_an_entry_point_without_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    install(tmp_path, f"theirs = {module}")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=rf"their-package names the methods of {module}, but"):
        plugins.installed()


def test_a_key_changes_with_the_text_and_with_nothing_else(
    tmp_path: Path, plugin: Path, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = keys(capsys, suite, plugin)
    elsewhere = tmp_path / "elsewhere.py"
    elsewhere.write_text(TEXT)
    assert keys(capsys, suite, elsewhere) == before
    plugin.write_text(TEXT + "# another text\n")
    after = keys(capsys, suite, plugin)
    assert {label for label in before if before[label] != after[label]} == {"train MN->UC Mine none seed 0"}


def test_the_keys_of_other_methods_know_of_no_plugin(
    plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = ROOT / "benchmarks" / "digits_smoke.yaml"
    assert keys(capsys, suite) == keys(capsys, suite, plugin)


def test_the_keys_of_our_own_trainings_hash_no_plugin() -> None:
    suite = read_suite("digits_smoke")
    for cell in make_plan(suite, read_card("digits"), suite.base_model).cells:
        content = {
            "kind": "train",
            "version": KINDS["train"].code_version,
            "params": cell.job.params.model_dump(mode="json"),
            "inputs": {role: job.key for role, job in cell.job.inputs.items()},
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        assert cell.job.key == hashlib.sha256(text.encode()).hexdigest()[:24]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", ["declares no method", "pipeline.classify.method.Method", '@method("NAME")']),
        ("", ["declares no method"]),
        ("x = 1\ndef broken(:\n", ["my_method.py, line 2: this is not valid Python: invalid syntax"]),
        (TEXT.replace('"Mine"', '"MCC"'), ["'MCC' is declared by both", "methods.mcc", "my_method.py"]),
        (TEXT.replace('"Mine"', "NAME"), ["my_method.py, line 9: the name under @method", "written out"]),
        (TEXT.replace('("Mine")', "()"), ["my_method.py, line 9: the name under @method"]),
        (TEXT.replace('"Mine"', '"../Mine"'), ["my_method.py, line 9: method '../Mine'", "no / and"]),
        (TEXT.replace("0.5", "1 / 2"), ["my_method.py, line 13: the default of weight must be a number"]),
        (TEXT.replace("= 3", "= None"), ["my_method.py, line 14: the default of rounds"]),
    ],
)
def test_a_file_refused_in_words(
    plugin: Path, capsys: pytest.CaptureFixture[str], text: str, words: list[str]
) -> None:
    plugin.write_text(text)
    assert cli.main(["methods", "--plugin", str(plugin)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert all(word in told for word in ["my_method.py", *words]), told


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.py", "there is no such file"),
        ("notes.txt", "expected a Python file"),
        (".", "expected a Python"),
    ],
)
@pytest.mark.parametrize("command", ["methods", "plan", "run", "tables", "verify", "bench images"])
def test_a_path_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, name: str, words: str
) -> None:
    (tmp_path / "notes.txt").write_text(TEXT)
    suite = [] if command == "methods" else ["digits_smoke"]
    assert cli.main([*command.split(), *suite, "--plugin", str(tmp_path / name)]) == 2
    told = capsys.readouterr().err
    assert str(tmp_path / name) in told
    assert words in told
    assert told.count("\n") == 1


def test_a_file_that_is_no_text(plugin: Path) -> None:
    plugin.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"my_method\.py cannot be read"):
        plugins.given(plugin)


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        (
            "[{name: Mine, hyperparameters: {wait: 1}}]",
            "Mine takes no hyper-parameter 'wait'; there are: rounds, weight",
        ),
        ("[{name: Mine, hyperparameters: {rounds: 1.5}}]", "rounds takes a whole number, such as 3, not 1.5"),
        ("[Mime]", "there is no method 'Mime' (--plugin FILE brings one of your own); there are: "),
    ],
)
def test_a_suite_refused_in_words(
    tmp_path: Path, plugin: Path, capsys: pytest.CaptureFixture[str], methods: str, words: str
) -> None:
    assert cli.main(["plan", str(write_suite(tmp_path, methods)), "--plugin", str(plugin)]) == 2
    assert words in capsys.readouterr().err


def test_a_decorator_that_is_not_ours(plugin: Path) -> None:
    plugin.write_text(
        "def method(name):\n    return lambda made: made\n@method('Mine')\nclass Mine:\n    pass\n"
    )
    registry.use([plugins.given(plugin)])
    with pytest.raises(UserError, match=r"my_method\.py: @method\('Mine'\) is not the decorator of pipeline"):
        registry.load("Mine")


@pytest.mark.parametrize("line", ["import no_such_module", "raise SystemExit(3)"])
def test_an_import_that_fails_names_the_file(plugin: Path, line: str) -> None:
    plugin.write_text(f"{TEXT}\n{line}\n")
    registry.use([plugins.given(plugin)])
    with pytest.raises(ImportError, match=r"plug-in .*my_method\.py can't be imported: \w+: ") as failed:
        registry.load("Mine")
    assert failed.value.__cause__ is not None


def test_what_a_plug_in_prints_as_it_is_imported_goes_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(TEXT + "\nprint('hello of the plug-in')\n")
    assert "Mine" in plugins.classes_of(plugins.given(tmp_path / "mine.py"))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "hello of the plug-in\n"
