"""A user's mistake in a YAML is one sentence with the file, the line, the field and what was expected."""

from pathlib import Path

import pytest

from pipeline import config
from pipeline.errors import UserError
from pipeline.plan import make_plan

SUITE = (config.ROOT / "benchmarks" / "digits.yaml").read_text()


def broken(tmp_path: Path, old: str, new: str) -> str:
    assert old in SUITE
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE.replace(old, new))
    with pytest.raises(UserError) as caught:
        config.read_suite(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def line_of(text: str) -> int:
    return next(i for i, line in enumerate(SUITE.splitlines(), 1) if text in line)


def test_every_suite_and_card_of_the_repository_is_valid() -> None:
    for path in (config.ROOT / "benchmarks").glob("*.yaml"):
        suite = config.read_suite(path)
        assert suite.name == path.stem
        config.read_card(suite.dataset)


def test_unknown_key_names_line_keys_and_the_nearest(tmp_path: Path) -> None:
    told = broken(tmp_path, "  warmup: 10", "  warm_up: 10")
    assert f"line {line_of('warmup: 10')}, finetune.warm_up: unknown key" in told
    assert "did you mean 'warmup'?" in told


def test_wrong_type_names_what_was_expected_and_seen(tmp_path: Path) -> None:
    told = broken(tmp_path, "  batch_size: 24 ", "  batch_size: many ")
    assert f"line {line_of('batch_size: 24')}, finetune.batch_size" in told
    assert "valid integer" in told
    assert "'many'" in told


@pytest.mark.parametrize(
    ("old", "new"), [("  steps: 300", "  steps: -1"), ("seeds: [0, 1, 2]", "seeds: [0, -1, 2]")]
)
def test_negative_numbers_are_refused(tmp_path: Path, old: str, new: str) -> None:
    assert "greater than or equal to" in broken(tmp_path, old, new)


def test_missing_field_is_named(tmp_path: Path) -> None:
    assert "dataset: this field is missing" in broken(tmp_path, "dataset: digits\n", "")


def test_not_yaml(tmp_path: Path) -> None:
    assert "not valid YAML" in broken(tmp_path, "seeds: [0, 1, 2]", "seeds: [0, 1")


def test_a_method_may_override_train_but_not_invent_settings(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        SUITE.replace("methods: [ERM, MCC]", "methods: [ERM, {name: MCC, train: {iterations: 7}}]")
    )
    suite = config.read_suite(path)
    assert [suite.train_settings(m).iterations for m in suite.methods][1] == 7
    assert "iteration" in broken(tmp_path, "[ERM, MCC]", "[ERM, {name: MCC, train: {iteration: 7}}]")


def test_unknown_suite_and_dataset_list_what_there_is() -> None:
    with pytest.raises(UserError, match="did you mean 'digits'"):
        config.read_suite("digit")
    with pytest.raises(UserError, match="did you mean 'digits'"):
        config.read_card("digitz")


def test_base_model_revision_follows_its_files(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    spec = config.BaseModelSpec(name=str(tmp_path))
    before = config.resolve_base_model(spec).revision
    assert before == config.resolve_base_model(spec).revision
    (tmp_path / "model_index.json").write_text("[]")
    assert config.resolve_base_model(spec).revision != before
    with pytest.raises(UserError, match="there is no folder"):
        config.resolve_base_model(config.BaseModelSpec(name="/nowhere"))


def test_an_unknown_value_lists_the_known_ones_and_the_nearest(tmp_path: Path) -> None:
    told = broken(tmp_path, "selections: [last, source, oracle]", "selections: [last, orakle]")
    assert f"line {line_of('selections:')}, selections.1: 'orakle' is none of its values; there are: " in told
    assert "last, oracle, source, unsupervised; did you mean 'oracle'?" in told


def test_a_method_stands_in_a_suite_twice_under_labels_of_its_own(tmp_path: Path) -> None:
    sweep = "[{name: ELS, label: ELS eps=0.2, hyperparameters: {eps: 0.2}}, ELS]"
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE.replace("methods: [ERM, MCC]", f"methods: {sweep}"))
    suite = config.read_suite(path)
    assert [(one.name, one.label) for one in suite.methods] == [("ELS", "ELS eps=0.2"), ("ELS", "ELS")]
    cells = make_plan(suite, config.read_card("digits"), suite.base_model).cells
    assert {cell.method: cell.job.params.hyperparameters for cell in cells} == {
        "ELS eps=0.2": {"eps": 0.2}, "ELS": {},
    }  # fmt: skip
    assert {cell.job.params.method for cell in cells} == {"ELS"}
    told = broken(tmp_path, "methods: [ERM, MCC]", "methods: [ERM, ERM]")
    assert "methods names ['ERM'] more than once; give each a label of its own" in told
