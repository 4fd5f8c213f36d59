"""Values of YAML files have one meaning: numbers, true and false, text, and keys."""

from pathlib import Path

import pytest

from pipeline import config
from pipeline.config import yaml_text
from pipeline.config.documents import read_document
from pipeline.core.errors import FaultyFileError, UserError
from pipeline.execution.suite_plan import plan_of

CARD = """\
name: mine
title: Mine
image_size: 32
classes: [one, two]
domains: {A: {name: Aa, images: 4}, B: {name: Bb, images: 4}}
sources: [{by: nobody, page: "https://example.org"}]
"""


def suite(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: digits_smoke\nname: mine\n{text}\n")
    return path


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("2e-2", 0.02),
        ("2E-2", 0.02),
        ("2.e-3", 0.002),
        ("2.0e3", 2000.0),
        ("1e+1", 10.0),
        (".5e1", 5.0),
        ("-1e-1", -0.1),
        ("1_000.5", 1000.5),
        ("7", 7),
        ("1_000", 1000),
        ("'2e-2'", "2e-2"),
        ("2e-2x", "2e-2x"),
        ("e5", "e5"),
        ("-", "-"),
        (".", "."),
        ("1.2.3", "1.2.3"),
    ],
)
def test_numbers_are_read_as_they_are_written_everywhere(tmp_path: Path, written: str, value: object) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(f"a: {written}" if written != "-" else "a: '-'")
    found = read_document(path).data["a"]
    assert (found, type(found)) == (value, type(value))


def test_a_hyper_parameter_is_read_like_a_setting(tmp_path: Path) -> None:
    given = suite(
        tmp_path,
        "augmentations: [none]\ntrain: {learning_rate: 1e-3, iterations: 1e2}\n"
        "methods: [{name: ELS, hyperparameters: {rho: 2e-2, eps: 1e-1}}]",
    )
    plan = plan_of(config.read_suite(given))
    (params,) = [cell.job.params for cell in plan.cells]
    assert params.hyperparameters == {"rho": 0.02, "eps": 0.1}
    assert params.settings.learning_rate == 0.001
    assert params.settings.iterations == 100


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("finetune: {steps: true}", "finetune.steps: a number is expected, not True"),
        ("finetune: {learning_rate: yes}", "finetune.learning_rate: a number is expected, not True"),
        ("seeds: [0, true]", "seeds.1: a number is expected, not True"),
        ("generate: {flow: {times: ['0.5', 1]}}", "a number is expected, without quotes"),
        ("finetune: {steps: '10'}", "finetune.steps: a number is expected, without quotes, not '10'"),
        ("finetune: {steps: 010}", "finetune.steps: 010 has a leading zero, .*; write 10, or '010'"),
        ("finetune: {steps: 089}", "finetune.steps: 089 has a leading zero, .*; write 89, or '089'"),
        ("finetune: {steps: 1:30}", "finetune.steps: 1:30 is a number in base 60"),
        ("finetune: {learning_rate: 1:30.5}", "finetune.learning_rate: 1:30.5 is a number in base 60"),
        ("finetune: {learning_rate: .inf}", "finetune.learning_rate: input should be a finite number"),
        ("finetune: {learning_rate: 1e999}", "finetune.learning_rate: input should be a finite number"),
        ("train: {weight_decay: .nan}", "train.weight_decay: input should be a finite number"),
        ("methods: [{name: ELS, hyperparameters: {rho: .inf}}]", "hyperparameters.rho: input should be"),
        (
            "methods: [{name: MDD, hyperparameters: {margin: .nan}}]",
            "margin: input should be a finite number",
        ),
        ("methods: [{name: ERM, train: {learning_rate: .inf}}]", "finite number"),
        ("seeds: [0]\nseeds: [1, 2]", "line 4, seeds: this key is repeated \\(first on line 3\\)"),
        ("finetune: {steps: 5, steps: 6}", "finetune.steps: this key is repeated"),
        ("title: 007", "title: 007 has a leading zero"),
        ("title: yes", "title: text is expected, but yes is read as true or false; quote it: 'yes'"),
        ("title: 2024-05-01", "title: text is expected, but 2024-05-01 is read as a date; quote it"),
    ],
)
def test_what_is_no_plain_number_is_refused(tmp_path: Path, line: str, told: str) -> None:
    path = suite(tmp_path, line)
    with pytest.raises(UserError, match=told) as caught:
        config.read_suite(path)
    assert str(caught.value).startswith(f"{path}, line ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ("[001, 002]", "classes.0: 001 has a leading zero, .*; write 1, or '001'"),
        ("[yes, no]", "classes.0: text is expected, but yes is read as true or false; quote it: 'yes'"),
        ("[10, 11]", "classes.0: text is expected, but 10 is read as a number; quote it: '10'"),
        ("[1e3, b]", "classes.0: text is expected, but 1e3 is read as a number; quote it: '1e3'"),
    ],
)
def test_class_names_that_yaml_does_not_take_for_text_are_to_be_quoted(
    tmp_path: Path, classes: str, told: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(CARD.replace("[one, two]", classes))
    with pytest.raises(FaultyFileError, match=told):
        config.read_card_file(path)
    quoted = ", ".join(f"'{name}'" for name in classes.strip("[]").split(", "))
    path.write_text(CARD.replace("[one, two]", f"[{quoted}]"))
    assert config.read_card_file(path).classes == classes.strip("[]").split(", ")


def test_a_key_that_yaml_does_not_take_for_text_is_to_be_quoted(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    for name in ("NO", "1", "010", "1e3", "2024-05-01"):
        path.write_text(CARD.replace("{A: ", f"{{{name}: "))
        with pytest.raises(UserError, match=f"domains.{name}: .*quote it: '{name}'"):
            config.read_card_file(path)
        path.write_text(CARD.replace("{A: ", f"{{'{name}': "))
        assert name in config.read_card_file(path).domains


def test_what_is_written_is_read_back_as_the_same_text() -> None:
    names = ["1e3", "010", "089", "0:30", "1:30", "yes", "NO", "2024-05-01", ".5", "2.e-3", "plain", "~", ""]
    card = {"classes": names, "prompt_words": {name: name for name in names}, "rate": 1e-05, "images": 12}
    text = yaml_text.write(card)
    root = yaml_text.parse_tree(text)
    assert yaml_text.parse(text) == card
    assert root is not None
    assert not list(yaml_text.ambiguities(root))
