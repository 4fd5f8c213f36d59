"""`validate`: a line for what is right, a sentence for each fault, and no harm done by any file."""

import json
import os
import time
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.core.paths import ROOT

REFUSED = Path(__file__).parent / "refused"

PLUGIN = """
from pipeline.classify.method import Method
from pipeline.classify.registry import method

raise RuntimeError("a plug-in is read, and not run")


@method("Mine")
class Mine(Method):
    '''A method.'''

    weight: float = 0.1
"""


def validate(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, list[str], list[str]]:
    """The exit code, and the lines of standard output and of standard error."""
    code = cli.main(["validate", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err.splitlines()


def faults(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[str]:
    """The sentences of a file that is refused, each of which is one line."""
    code, out, err = validate(capsys, *arguments)
    assert (code, out) == (2, [])
    assert all(line.startswith("error: ") and len(line) < 800 for line in err)
    return [line.removeprefix("error: ") for line in err]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("path", sorted(ROOT.glob("benchmarks/*.yaml")), ids=lambda path: path.stem)
def test_every_suite_of_the_repository_is_valid(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = validate(capsys, path)
    assert (code, len(out), err) == (0, 1, [])
    assert out[0].startswith(f"{path} is a valid suite: setting ")


@pytest.mark.parametrize("path", sorted(ROOT.glob("datasets/*.yaml")), ids=lambda path: path.stem)
def test_every_card_of_the_repository_is_valid(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = validate(capsys, path)
    assert (code, len(out), err) == (0, 1, [])
    assert out[0].startswith(f"{path} is a valid dataset card: {path.stem}, ")


def test_a_suite_is_named_with_the_size_of_its_graph(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = validate(capsys, "digits_smoke")
    assert code == 0
    assert out[0].endswith(
        "digits_smoke.yaml is a valid suite: setting uda, 1 task, 11 jobs (1 prepare, 1 finetune, "
        "3 generate, 6 train)"
    )
    code, out, _ = validate(capsys, "digits_smoke", "--json")
    told = json.loads(out[0])
    assert (code, told["valid"], told["kind"], told["faults"]) == (0, True, "suite", [])
    assert told["counts"] == {"tasks": 1, "prepare": 1, "finetune": 1, "generate": 3, "train": 6}


def test_a_plugin_is_read_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "mine.py", PLUGIN)
    assert validate(capsys, path) == (0, [f"{path} is a valid plug-in: declares Mine"], [])
    suite = write(tmp_path, "mine.yaml", "extends: digits_smoke\nname: mine\nmethods: [Mine]\n")
    assert "there is no method 'Mine'" in faults(capsys, suite)[0]
    assert validate(capsys, suite, "--plugin", path)[0] == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "declares no method"),
        ("def broken(:\n", "line 1: this is not valid Python"),
        ("\0", "this is not valid Python"),
        (PLUGIN.replace("Mine", "MCC"), "method 'MCC' is declared by both"),
        (PLUGIN.replace("0.1", "compute()"), "the default of weight must be a number"),
    ],
)
def test_a_faulty_plugin_is_refused(
    text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sentence,) = faults(capsys, write(tmp_path, "mine.py", text))
    assert told in sentence


def test_every_fault_of_a_file_has_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path,
        "mine.yaml",
        "extends: digits_smoke\nname: mine\ntasks: [1, MN->UC]\nfinetune: {steps: -1, warm_up: 3}\n"
        "selections: [last, orakle]\n",
    )
    told = faults(capsys, path)
    assert [line.removeprefix(f"{path}, ").partition(": ")[0] for line in told] == [
        "line 3, tasks.0",
        "line 4, finetune.steps",
        "line 4, finetune.warm_up",
        "line 5, selections.1",
    ]
    assert "did you mean 'oracle'?" in told[-1]
    code, out, _ = validate(capsys, path, "--json")
    assert code == 2
    assert json.loads(out[0])["faults"] == told


def test_what_plan_refuses_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "extends: digits_smoke\nname: mine\n"
    for more, told in {
        "methods: [MCD, Nope, {name: MCC, hyperparameters: {heat: 1}}]": ["no method 'Nope'", "'heat'"],
        "dataset: digitz\nbase_model: {name: /nowhere, resolution: 8}": ["'digitz'", "no folder /nowhere"],
        "tasks: [MN->XX]": ["digits has no domain 'XX'"],
        "train: {pretrained: /nowhere.pth}": ["train.pretrained: there is no file /nowhere.pth"],
    }.items():
        path = write(tmp_path, "mine.yaml", f"{text}{more}\n")
        sentences = faults(capsys, path)
        assert len(sentences) == len(told)
        for sentence, part in zip(sentences, told, strict=True):
            assert sentence.startswith(str(path))
            assert part in sentence
        assert cli.main(["plan", str(path), "--store", str(tmp_path)]) == 2
        capsys.readouterr()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("path", sorted(REFUSED.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_hostile_suite_is_refused_at_once(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Repeated values fail only after hours; aliases of aliases fill gigabytes where they are written out."""
    began = time.monotonic()
    sentences = faults(capsys, path)
    assert time.monotonic() - began < 10
    assert all(str(path) in sentence for sentence in sentences)
    about = path.stem.split("_")
    field = about[-1] if about[0] in ("repeated", "bomb") else "seeds.0"
    assert field in sentences[0]
    assert cli.main(["plan", str(path)]) == 2


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("empty.yaml", b"", "expected keys and values at the top level"),
        ("list.yaml", b"- a\n- b\n", "expected keys and values at the top level"),
        ("binary.yaml", bytes(range(256)), "cannot be read"),
        ("nul.yaml", b"name: a\0b\n", "this is not valid YAML"),
        ("unknown.yaml", b"colour: blue\n", "is neither a suite nor a dataset card"),
        ("numbers.yaml", b"1: 2\n", "1: this key is not read as text"),
        ("date.yaml", b"name: 2020-99-99\nextends: digits\n", "this is not valid YAML"),
        ("huge.yaml", b"seeds: [" + b"9" * 5000 + b"]\n", "this is not valid YAML"),
        ("deep.yaml", b"extends: " + b"[" * 5000 + b"]" * 5000, "this is not valid YAML"),
        ("object.yaml", b"name: !!python/object/apply:os.getcwd []\n", "this is not valid YAML"),
        ("card.yaml", b"classes: [a]\ndomains: 3\n", "this field is missing"),
        ("notes.txt", b"extends: digits\n", "expected a suite or a dataset card"),
    ],
)
def test_a_hostile_file_is_one_sentence(
    name: str, content: bytes, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, name, content)
    sentences = faults(capsys, path)
    assert str(path) in sentences[0]
    assert told in sentences[0]


def test_what_is_not_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert faults(capsys, tmp_path) == [f"{tmp_path} is not a file; name a YAML file or a Python file"]
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    assert "is not a file" in faults(capsys, pipe)[0]  # to open it would wait for ever
    assert cli.main(["plan", str(pipe)]) == 2
    capsys.readouterr()
    assert "there is no file" in faults(capsys, tmp_path / "none.yaml")[0]
    assert "did you mean 'digits'?" in faults(capsys, "digit")[0]


def test_every_command_names_all_faults_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = write(tmp_path, "mine.yaml", "name: mine\nsetting: uda\ndataset: digits\n")
    expected = faults(capsys, suite)
    assert len(expected) > 2
    for command in ("plan", "tables", "run", "doctor"):
        assert cli.main([command, str(suite)]) == 2
        said = capsys.readouterr().err.splitlines()
        assert [line.removeprefix("error: ") for line in said] == expected, command
