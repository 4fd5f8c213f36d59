"""A suite of morphs is reported like any other: records, table, frames, page, compare, export, a part."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from pipeline import cli, config
from pipeline.core.errors import UserError
from pipeline.core.store import Store
from pipeline.planning.graph import make_plan
from pipeline.planning.morphs import MorphCell
from pipeline.report import records
from pipeline.report.morphs import REPORT, SCHEMA
from pipeline.report.tables import compare
from tests.report.page.test_build import Seen

SCORES = {"PPL": 2.0, "PPL variation": 0.5, "FID": 20.0, "KID": -0.01, "psnr": 30.0}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Two methods, one kind."""
    lines = ["extends: morph", "name: small", "kinds: [images]", "methods: [ddim, terra]"]
    (tmp_path / "small.yaml").write_text("\n".join([*lines, ""]))
    return tmp_path / "small.yaml"


@pytest.fixture
def cells(suite: Path) -> list[MorphCell]:
    read = config.read_suite(suite)
    return make_plan(read, config.read_card("digits"), config.resolve_base_model(read.base_model)).cells


def write_artifacts(store: Store, cell: MorphCell, **scores: float | None) -> None:
    """What the jobs of a cell leave: frames of one morph, and their scores."""
    manifest = json.dumps({"seconds": 2.0, "files": {}, "made_with": {"python": "3.99"}})
    for job in cell.own_jobs:
        store.path(job.kind, job.key).mkdir(parents=True)
        (store.path(job.kind, job.key) / "manifest.json").write_text(manifest)
    frames = store.path("morphs", cell.morphs.key) / "000"
    frames.mkdir()
    for index in range(3):
        Image.new("RGB", (32, 32), (80 * index, 0, 0)).save(frames / f"frame_{index:03d}.png")
    record = {
        "kind": cell.kind,
        "method": cell.method,
        "distance": "digits",
        "features": "digits",
        "sequences": 6,
        "frames": 138,
        "reference": 10,
    }
    file = store.path("score", cell.job.key) / "record.json"
    file.write_text(json.dumps(record | SCORES | scores))


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    return ["--store", str(tmp_path / "store"), "--results", str(tmp_path)]


def test_a_run_leaves_records_table_frames_and_page(suite, cells, folders, tmp_path, capsys):
    write_artifacts(Store(tmp_path / "store"), cells[0])
    write_artifacts(Store(tmp_path / "store"), cells[1], PPL=1.25, FID=None, psnr=None)
    assert cli.main(["tables", str(suite), *folders]) == 0
    said = capsys.readouterr()
    assert "1.25" in said.out
    assert f"page: {tmp_path / 'small' / 'index.html'}" in said.out
    found = records.read(tmp_path / "small" / "records.csv")
    assert list(found.columns) == SCHEMA.names
    assert list(found["method"]) == ["ddim", "terra"]
    assert list(found["PPL"]) == [2.0, 1.25]
    assert list(found["FID"].isna()) == [False, True]
    assert found["KID"][0] == -0.01
    assert "| terra | – | **1.25** |" in (tmp_path / "small" / "tables" / "morphs.md").read_text()
    assert (tmp_path / "small" / "plots" / "morphs_images.png").exists()
    seen = Seen((tmp_path / "small" / "index.html").read_text())
    assert [cell["data-value"] for cell in seen.all("td") if "data-value" in cell] == [
        "20.0",
        "2.0",
        "0.5",
        "",
        "1.25",
        "0.5",
    ]
    assert [image["alt"] for image in seen.all("img") if image["alt"]] == ["Morphs: images"]
    words = " ".join(" ".join(seen.words).split())
    assert "2 methods of morphing on" in words
    assert "3.99" in words
    assert 'methods: ["terra"]' in words
    assert "small.yaml" in words
    assert str(tmp_path) not in words


def test_a_row_is_repeated_by_its_own_jobs(suite, cells):
    fields = dict(REPORT.rows(config.read_suite(suite)))["terra"]
    assert fields == {"methods": ["terra"]}
    part = config.read_suite(suite).model_copy(update=fields)
    base = config.resolve_base_model(part.base_model)
    (cell,) = make_plan(part, config.read_card("digits"), base).cells
    assert cell.job.key == cells[1].job.key


def test_morphs_that_failed_are_recorded(suite, cells, folders, tmp_path, capsys):
    store = Store(tmp_path / "store")
    write_artifacts(store, cells[0])
    store.note_failure("morphs", cells[1].morphs.key, "the loss became nan")
    assert cli.main(["tables", str(suite), *folders]) == 0
    found = records.read(tmp_path / "small" / "records.csv")
    assert list(found["status"]) == ["done", "failed"]
    assert found["PPL"].isna()[1]
    words = " ".join(Seen((tmp_path / "small" / "index.html").read_text()).words)
    assert "images, terra: the loss became nan" in " ".join(words.split())


def test_nothing_is_finished_yet(suite, folders, capsys):
    assert cli.main(["tables", str(suite), *folders]) == 0
    assert "no morph method of small is finished yet" in capsys.readouterr().err
    assert cli.main(["tables", str(suite), *folders, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["jobs"], told["done"], told["records"]) == (5, 0, [])


def test_report_of_a_folder_alone(tmp_path, capsys):
    """The reference run, without the store."""
    shutil.copytree(config.results_folder(None) / "reference" / "morph", tmp_path / "morph")
    (tmp_path / "morph" / "run.json").unlink()
    (tmp_path / "morph" / "index.html").unlink()
    assert cli.main(["report", str(tmp_path / "morph")]) == 0
    seen = Seen((tmp_path / "morph" / "index.html").read_text())
    assert len([cell for cell in seen.all("td") if "data-value" in cell]) == 5 * 9


@pytest.fixture
def reference() -> pd.DataFrame:
    return records.read(config.results_folder(None) / "reference" / "morph" / "records.csv")


def test_two_runs_are_compared_by_every_score(reference):
    other = reference.copy()
    terra = other["method"] == "terra"
    other.loc[terra, "PPL"] -= 0.1
    other.loc[terra, "psnr"] -= 1
    other.loc[terra, "KID"] += 0.01
    found = compare.compare(reference, other)
    moved = {(change.measure, change.better) for change in found.changes if change.verdict != compare.SAME}
    assert moved == {("PPL", True), ("psnr", False), ("KID", False)}
    assert not found.differs, "one seed tells nothing of noise"
    assert found.keys == {"same": 15, "same, but another accuracy": 3, "other": 0}
    said = compare.described(found, Path("a"), Path("b"))
    assert "PPL, images, terra (better)" in said
    assert "morph methods in both: 15 with the same settings" in said
    assert [cell["kind"] for cell in compare.compare(reference[:1], reference).only_b][:2] == ["images"] * 2


def test_export(reference, tmp_path, capsys):
    run = str(config.results_folder(None) / "reference" / "morph")
    assert cli.main(["export", run, "--to", str(tmp_path / "all.csv")]) == 0
    assert pd.read_csv(tmp_path / "all.csv")["PPL"].tolist() == reference["PPL"].tolist()
    curves = dict(REPORT.curves(reference))
    assert list(curves) == [f"morph/{name}" for name in reference["method"].unique()]
    assert curves["morph/ddim"][0]["PPL/images"] == reference["PPL"][0]
    assert "psnr/styles" not in curves["morph/ddim"][0], "known of images alone"


def test_scores_that_are_wrong_are_named(reference, tmp_path):
    records.write(tmp_path / "records.csv", reference.to_dict("records"))
    text = (tmp_path / "records.csv").read_text()
    for old, new, said in (
        ("images,ddim", "images,terra", "line 4: repeats the record of line 2"),
        (",morph,images", ",morphs,images", "line 2, column setting: 'morphs'; .*did you mean 'morph'"),
        (",6,138,", ",six,138,", "line 2, column sequences: expected a whole number from 0, not 'six'"),
        ("1.961003949400038", "", "line 2: a record without PPL must be of status failed"),
    ):
        (tmp_path / "records.csv").write_text(text.replace(old, new))
        with pytest.raises(UserError, match=said):
            records.read(tmp_path / "records.csv")
