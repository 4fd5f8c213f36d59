"""Names in suites that become names of files stay in their folders, and each has files of its own."""

from pathlib import Path

import pytest

from pipeline import config
from pipeline.config.names import BESIDE_DOMAINS, BESIDE_SUITES
from pipeline.core.errors import UserError
from pipeline.core.paths import shipped_folder
from pipeline.core.store import MANIFEST
from pipeline.data.image_files import cache_folder

HEAD = "extends: digits_smoke\naugmentations: [none]\n"


def refusal(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD + text)
    with pytest.raises(UserError) as caught:
        config.read_suite(path)
    return str(caught.value)


@pytest.mark.parametrize(
    "name", ["../../escaped", "/escaped", "..", "", ".hidden", "a\\b", "a\u202eb", "x" * 101, "数" * 80]
)
@pytest.mark.parametrize("parent", ["digits_smoke", "morph"])
def test_a_name_that_leads_out_of_the_results_folder_is_refused(
    tmp_path: Path, name: str, parent: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {parent}\nname: '{name}'\n")
    with pytest.raises(UserError, match=r"line 2, name: this becomes the name of a file or folder"):
        config.read_suite(path)


@pytest.mark.parametrize("name", [*BESIDE_SUITES, "Store"])
@pytest.mark.parametrize("parent", ["digits_smoke", "morph"])
def test_a_suite_does_not_take_a_folder_that_holds_something_else(
    tmp_path: Path, name: str, parent: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {parent}\nname: {name}\n")
    with pytest.raises(UserError, match=rf"line 2, name: '{name}' is the name of a folder in results/"):
        config.read_suite(path)


def test_the_taken_names_are_those_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("TERRABENCH_STORE", "TERRABENCH_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    results = config.results_folder(None)
    assert config.store_folder(None) == results / "store"
    assert cache_folder() == results / "cache"
    beside = {path.name for path in results.iterdir() if not (path / "records.csv").exists()}
    assert beside - {path.stem for path in shipped_folder("benchmarks").glob("*.yaml")} <= set(BESIDE_SUITES)
    assert [f"{name}.json" for name in BESIDE_DOMAINS] == [MANIFEST]


def test_a_label_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "name: mine\nmethods:\n- {name: ERM, label: ../../escaped}\n")
    assert "line 5, methods.0.label: this becomes the name of a file or folder" in message


@pytest.mark.parametrize("other", ["a-b", "a!b", "A b"])
def test_labels_whose_figures_would_overwrite_each_other_are_refused(tmp_path: Path, other: str) -> None:
    methods = f"[{{name: ERM, label: a b}}, {{name: MCC, label: '{other}'}}]"
    message = refusal(tmp_path, f"name: mine\nmethods: {methods}\n")
    assert f"the figures of 'a b' and {other!r} would be files of one name" in message
