"""A user's mistake in a YAML is one sentence with the file, the line, the field and what was expected."""

from pathlib import Path

import pytest

from pipeline import config
from pipeline.core.errors import FaultyFileError, UserError
from pipeline.core.paths import ROOT
from pipeline.core.store import sha256
from pipeline.planning.graph import make_plan

SUITE = (ROOT / "benchmarks" / "digits.yaml").read_text()


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
    for path in (ROOT / "benchmarks").glob("*.yaml"):
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


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("spacing: karras", "generate.spacing: 'karras' is not one of its values; there are: leading, linsp"),
        ("steps_offset: 1", "steps_offset is 1, but spacing: trailing has no offset; leave steps_offset out"),
    ],
)
def test_timesteps_that_no_scheduler_has_are_refused(tmp_path: Path, given: str, told: str) -> None:
    assert told in broken(tmp_path, "  steps: 12", f"  steps: 12\n  {given}")


def test_whole_adapted_images_need_a_crop_or_a_size(tmp_path: Path) -> None:
    told = broken(tmp_path, "  steps: 12", "  steps: 12\n  keep_aspect: true")
    assert "keep_aspect makes images of several sizes, but method ERM has crop: none" in told
    path = tmp_path / "sized.yaml"
    path.write_text(SUITE.replace("  steps: 12", "  steps: 12\n  keep_aspect: true\n  save_size: 32"))
    assert config.read_suite(path).generate.keep_aspect


def test_evenly_spaced_timesteps_need_two_steps(tmp_path: Path) -> None:
    told = broken(tmp_path, "  steps: 12", "  steps: 1\n  spacing: linspace")
    assert "spacing: linspace has two ends, but steps is 1; take 2 or more" in told


def test_images_are_not_saved_larger_than_they_are_sampled(tmp_path: Path) -> None:
    told = broken(tmp_path, "  batch_size: 50", "  batch_size: auto\n  save_size: 64")
    assert "generate.save_size is 64, larger than base_model.resolution, 32" in told
    assert "image_format" in broken(tmp_path, "  batch_size: 50", "  image_format: jpeg")


def test_missing_field_is_named(tmp_path: Path) -> None:
    assert "dataset: this field is missing" in broken(tmp_path, "dataset: digits\n", "")


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = SUITE.replace("  warmup: 10", "  warm_up: 10").replace("dataset: digits\n", "")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("tasks: all", "tasks: 3"))
    with pytest.raises(FaultyFileError) as caught:
        config.read_suite(path)
    first, second, third = caught.value.faults
    assert str(caught.value) == f"{first} (2 more after it)"
    assert first.endswith("dataset: this field is missing")
    line = line_of("tasks:") - 1
    assert second == f"{path}, line {line}, tasks: input should be 'all' or a valid list, not 3"
    assert "finetune.warm_up: unknown key; there are: " in third


def test_a_value_of_several_types_is_told_by_its_own_place(tmp_path: Path) -> None:
    told = broken(tmp_path, "methods: [ERM, MCC]", "methods: [{name: MCC, hyperparameters: {eps: [1]}}]")
    assert f"line {line_of('methods:')}, methods.0.hyperparameters.eps: " in told
    assert "float" not in told.partition("eps: ")[0]


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


def extending(tmp_path: Path, text: str, extended: str = SUITE) -> Path:
    (tmp_path / "below.yaml").write_text(extended)
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: below.yaml\n{text}")
    return path


def test_a_suite_may_extend_another(tmp_path: Path) -> None:
    text = "name: mine\nseeds: [7]\nfinetune: {steps: 9}\n"
    digits, mine = config.read_suite("digits"), config.read_suite(extending(tmp_path, text))
    assert mine == digits.model_copy(
        update={
            "name": "mine",
            "title": "mine",
            "seeds": [7],
            "finetune": digits.finetune.model_copy(update={"steps": 9}),
        }
    )
    (tmp_path / "again.yaml").write_text("extends: mine.yaml\nfinetune: {warmup: 1}\n")
    again = config.read_suite(tmp_path / "again.yaml").finetune
    assert (again.steps, again.warmup) == (9, 1)


def test_a_mistake_is_told_of_the_file_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.yaml, line 3, finetune\.steps: "):
        config.read_suite(extending(tmp_path, "finetune:\n  steps: -1\n"))
    wrong = SUITE.replace("  warmup: 10", "  warmup: few")
    with pytest.raises(UserError, match=rf"below\.yaml, line {line_of('warmup: 10')}, finetune\.warmup: "):
        config.read_suite(extending(tmp_path, "finetune:\n  steps: 1\n", wrong))
    with pytest.raises(UserError, match=r"mine\.yaml, line 1, dataset: this field is missing"):
        config.read_suite(extending(tmp_path, "", SUITE.replace("dataset: digits\n", "")))


def test_what_a_suite_extends_must_be_there_and_not_itself(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    for told, text in {
        "mine.yaml, line 2, extends: there is no suite 'digitz'": "\nextends: digitz\n",
        "line 1, extends: expected the name or the path of one suite": "extends: [digits]\n",
        "would extend itself": "extends: mine.yaml\n",
    }.items():
        path.write_text(text)
        with pytest.raises(UserError, match=told):
            config.read_suite(path)


@pytest.mark.parametrize(
    "bomb",
    [
        "[" + "*{0}, " * 10 + "]",
        "{{" + ", ".join(f"k{place}: *{{0}}" for place in range(10)) + "}}",
        "{{<<: [" + "*{0}, " * 10 + "]}}",
    ],
)
def test_aliases_that_stand_for_billions_of_values_are_refused_at_once(tmp_path: Path, bomb: str) -> None:
    first = "x0: &b0 " + ("[l]" if bomb.startswith("[") else "{l: 1}")
    lines = [first, *(f"x{depth}: &b{depth} " + bomb.format(f"b{depth - 1}") for depth in range(1, 10))]
    path = extending(tmp_path, "\n".join([*lines, "finetune: *b9"]), "\n".join([*lines, "finetune: *b9"]))
    with pytest.raises(UserError, match=r"mine.yaml: its aliases .* stand for more than 100,000 values"):
        config.read_suite(path)


def test_an_alias_in_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="more than 100,000 values"):
        config.read_suite(extending(tmp_path, "tasks: &a [*a]"))


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
    (tmp_path / "model_index.json").write_text('{"_class_name": "x"}')
    assert config.resolve_base_model(spec).revision != before
    with pytest.raises(UserError, match="there is no folder"):
        config.resolve_base_model(config.BaseModelSpec(name="/nowhere"))


def test_an_unknown_value_lists_the_known_ones_and_the_nearest(tmp_path: Path) -> None:
    told = broken(tmp_path, "selections: [last, source, oracle]", "selections: [last, orakle]")
    assert (
        f"line {line_of('selections:')}, selections.1: 'orakle' is not one of its values; there are: " in told
    )
    assert "last, oracle, source, unsupervised; did you mean 'oracle'?" in told


def test_a_method_stands_in_a_suite_twice_under_labels_of_its_own(tmp_path: Path) -> None:
    sweep = "[{name: ELS, label: ELS eps=0.2, hyperparameters: {eps: 0.2}}, ELS]"
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE.replace("methods: [ERM, MCC]", f"methods: {sweep}"))
    suite = config.read_suite(path)
    assert [(one.name, suite.label(one)) for one in suite.methods] == [("ELS", "ELS eps=0.2"), ("ELS", "ELS")]
    cells = make_plan(suite, config.read_card("digits"), suite.base_model).cells
    assert {cell.method: cell.job.params.hyperparameters for cell in cells} == {
        "ELS eps=0.2": {"eps": 0.2},
        "ELS": {},
    }
    assert {cell.job.params.method for cell in cells} == {"ELS"}
    told = broken(tmp_path, "methods: [ERM, MCC]", "methods: [ERM, ERM]")
    assert "methods names ['ERM'] more than once; give each a label of its own" in told


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        (
            "selections",
            "[last, unsupervised]",
            "'unsupervised' looks at the target's images, which setting dg holds",
        ),
        (
            "augmentations",
            "[none, tera]",
            "'tera' does not exist; there are: base, diffmorpher, lora_interp, none, terra; did you mean",
        ),
        ("mix", "{made_fraction: 0.5}", "mix.made_fraction is for setting uda alone"),
    ],
)
def test_what_setting_dg_cannot_have_is_refused(tmp_path: Path, field: str, value: str, told: str) -> None:
    changed = {"setting": "dg", "augmentations": "[none, base]", "mix": "{}"} | {field: value}
    lines = [
        next((f"{k}: {v}" for k, v in changed.items() if line.startswith(f"{k}:")), line)
        for line in SUITE.splitlines()
    ]
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=told):
        config.read_suite(path)


def test_what_an_adapter_or_a_setting_cannot_have_in_stage_one_is_refused(tmp_path: Path) -> None:
    told = broken(tmp_path, "  batch_size: 24 ", "  pooled: true\n  batch_size: 24 ")
    assert "finetune.pooled is for setting dg alone" in told
    fresh = SUITE.replace("  batch_size: 24 ", "  encoding: fresh\n  batch_size: 24 ")
    path = tmp_path / "lorweb.yaml"
    path.write_text(fresh + "\nadapters: {mix: {type: lorweb}}\n")
    assert config.read_suite(path).finetune.encoding == "fresh"
    path.write_text(path.read_text().replace("augmentations: [", "augmentations: [mix, "))
    with pytest.raises(
        UserError, match="encoding: fresh is for adapters terra and lora, but mix is a lorweb"
    ):
        config.read_suite(path)


def test_each_setting_has_its_own_way_to_mix_made_images_in(tmp_path: Path) -> None:
    assert "mix.made_weight is for setting dg alone" in broken(tmp_path, "mix: {", "mix: {made_weight: 0.5, ")


def test_swad_needs_evaluations_enough_to_find_a_valley() -> None:
    train = config.read_suite("digits").train.model_dump()
    swad = {"averaging": "swad", "iterations": 90}
    config.TrainSettings.model_validate(train | swad | {"evaluate_every": 10})
    with pytest.raises(ValueError, match=r"8 losses.* needs at least 9"):
        config.TrainSettings.model_validate(train | swad | {"evaluate_every": 11})


def test_an_adapter_takes_a_name_of_its_own_and_one_dimension_under_uda() -> None:
    whole = config.read_suite("digits").model_dump()
    for changes, told in (
        ({"adapters": {"base": {}}}, "the name 'base' is taken"),
        ({"adapters": {"terra": {}}}, "the name 'terra' is taken"),
        ({"adapters": {"flat": {"t_dim": 2}}, "augmentations": ["flat"]}, "t_dim of adapter flat is 2"),
        ({"adapters": {"a/b": {}}}, "no / and"),
        ({"adapters": {"a b": {}}}, "pattern"),
    ):
        with pytest.raises(ValueError, match=told):
            config.Suite.model_validate(whole | changes)


def test_the_encoder_of_a_lorweb_is_identified_by_its_weights(tmp_path: Path) -> None:
    told = config.AdapterSpec(type="lorweb")
    found = config.resolve_encoder(told).analogy.encoder_revision
    assert sha256(config.MINI_ENCODER).startswith(found)
    (tmp_path / "model.safetensors").write_bytes(b"one")
    (tmp_path / "config.json").write_text("{}")
    folder = config.AdapterSpec(type="lorweb", analogy={"encoder": str(tmp_path)})
    before = config.resolve_encoder(folder).analogy.encoder_revision
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert config.resolve_encoder(folder).analogy.encoder_revision != before
    assert config.resolve_encoder(config.AdapterSpec()) == config.AdapterSpec()
    assert [config.encoder_path(spec) for spec in (config.AdapterSpec(), folder)] == [None, str(tmp_path)]


@pytest.mark.parametrize(
    ("lines", "title"),
    [
        ("name: mine", "mine"),
        ("name: mine\ntitle: My own", "My own"),
        ("seeds: [0]", None),
        ("title: My own", "My own"),
    ],
)
def test_a_suite_with_its_own_name_does_not_take_the_title_of_another(
    tmp_path: Path, lines: str, title: str | None
) -> None:
    (tmp_path / "mine.yaml").write_text(f"extends: digits\n{lines}\n")
    (tmp_path / "again.yaml").write_text("extends: mine.yaml\nmethods: [ERM]\n")
    expected = title or config.read_suite("digits").title
    assert config.read_suite(tmp_path / "mine.yaml").title == expected
    assert config.read_suite(tmp_path / "again.yaml").title == expected


def test_a_fault_is_named_in_the_file_that_states_the_list(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: pacs\nname: mine\nmethods:\n  - ../x\n")
    with pytest.raises(UserError, match=r"mine\.yaml, line 4, methods\.0\.name: this becomes the name"):
        config.read_suite(path)
