"""The page: whole, self-contained, with every number; its script; its commands; and the server."""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from pipeline import cli, config
from pipeline.core.errors import UserError
from pipeline.core.paths import ROOT
from pipeline.planning.graph import make_plan
from pipeline.report import records, training_records
from pipeline.report.page import build, html_table, images, reproduce_command, run_info, serve
from pipeline.report.page.run_info import RunInfo, StageTime
from pipeline.report.plots import per_class
from pipeline.report.suite_report import report_for
from pipeline.report.tables import accuracy
from pipeline.report.tables.names import row_name
from tests.report.report_samples import CLASSES, TASKS, make_row, make_suite

VOID = {"meta", "link", "img", "input", "br"}


class Seen(HTMLParser):
    """The elements of a page in order, as (tag, attributes), and its text; checks that tags match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element, line {self.getpos()[0]}"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def make_about(**changes: object) -> RunInfo:
    stages = [
        StageTime(kind="finetune", done=2, jobs=2, seconds=600),
        StageTime(kind="train", done=1, jobs=12, seconds=18),
    ]
    suite = make_suite(selections=["last", "oracle"])
    card = config.read_card("digits").model_copy(update={"classes": CLASSES})
    plain = {"suite": suite, "card": card, "tasks": TASKS, "file": "benchmarks/digits.yaml", "stages": stages}
    return RunInfo(**plain | changes)


@pytest.fixture
def folder(tmp_path: Path, rows: list[dict]) -> Path:
    """A results folder: records under two rules, and pictures of two kinds."""
    both = rows + [row | {"selection": "oracle", "accuracy": row["accuracy"] + 1} for row in rows]
    records.write(tmp_path / "out" / "records.csv", both)
    for name in ("loss_MN-to-MM", "something_new"):
        (tmp_path / "out" / "plots").mkdir(exist_ok=True)
        Image.new("RGB", (2000, 500), "white").save(tmp_path / "out" / "plots" / f"{name}.png")
    return tmp_path / "out"


def text_of(folder: Path, told: RunInfo) -> str:
    return build.write_page(folder, told, records.read(folder / "records.csv")).read_text()


def test_tables_hold_every_number_and_are_marked_up(folder):
    told = make_about()
    seen, frame = Seen(text_of(folder, told)), records.read(folder / "records.csv")
    expected = []
    for selection in ("last", "oracle"):
        for row in accuracy.accuracy_table(frame, told.suite, TASKS, selection).rows:
            expected += [cell.mean for cell in row.cells]
    assert [float(cell["data-value"]) for cell in seen.all("td") if "data-value" in cell] == expected
    assert all(f"{number:.1f}" in seen.words for number in expected)
    assert all(head["scope"] in ("col", "row") for head in seen.all("th"))
    assert len(seen.all("caption")) == len(seen.all("table")) == 7, (
        "of each rule accuracy, gains, ranks; and time"
    )
    assert [box["value"] for box in seen.all("input")] == ["last", "oracle"]
    assert {"ERM", "ERM + base", "ERM + Terra"} <= set(seen.words)
    assert {"finetune", "10 min 00 s", "5 min 00 s", "1 of 12", "18 s"} <= set(seen.words)
    assert re.search(
        r"Best average: \S* *ERM \+ Terra, 81\.0 % ± 3\.4 \(\+35\.2\), over\s+2 tasks", "".join(seen.words)
    )


def test_a_missing_number_is_shown_as_missing(folder, rows):
    failed = {"status": "failed", "reason": "the loss became nan", "accuracy": None, "per_class": []}
    records.write(folder / "records.csv", [rows[0] | failed, rows[1] | failed, *rows[2:]])
    seen = Seen(text_of(folder, make_about(suite=make_suite())))
    cells = [cell["data-value"] for cell in seen.all("td") if "data-value" in cell]
    assert cells.count("") == 1
    assert "–" in seen.words
    assert "Missing: 2 of 12 trainings, 2 of them failed" in " ".join(seen.words)


def test_nothing_comes_from_elsewhere(folder):
    text = text_of(folder, make_about())
    seen = Seen(text)
    loaded = [found["src"] for found in seen.all("img") + seen.all("script") if "src" in found]
    assert len(loaded) == 2
    assert all(source.startswith("data:image/webp;base64,") for source in loaded)
    assert [link["href"] for link in seen.all("link")] == ["data:,"]
    assert not re.search(r"https?://|url\(|@import", text)
    for link in seen.all("a"):
        assert link["href"].startswith("#") or (folder / link["href"]).is_file()
    assert {"Losses of fine-tuning: MN→MM", "Other figures: something new"} == {
        image["alt"] for image in seen.all("img") if image["alt"]
    }
    assert {image["width"] for image in seen.all("img") if "width" in image} == {str(images.WIDEST)}


def test_markup_in_names_is_text(folder, rows):
    name = "A & B_<i>"
    suite = make_suite(
        title="<script>alert(1)</script>", methods=[{"name": "ERM", "label": name}], metric="class_mean"
    )
    records.write(folder / "records.csv", [row | {"method": name} for row in rows])
    card = make_about().card.model_copy(update={"classes": ["</td>", *CLASSES[1:]]})
    text = text_of(folder, make_about(suite=suite, card=card))
    seen = Seen(text)
    assert "<script>alert" not in text
    assert len(seen.all("script")) == 1
    assert not seen.all("i")
    assert "<script>alert(1)</script>" in seen.words
    assert f"{name} + Terra" in seen.words
    assert "</td>" in seen.words
    assert len(seen.all("table")) == 6, "the mean, the classes of two tasks, gains, ranks, time"


def test_a_second_time_writes_nothing(folder):
    told = make_about()
    first = text_of(folder, told)
    inode = (folder / build.FILE).stat().st_ino
    assert text_of(folder, told) == first
    assert (folder / build.FILE).stat().st_ino == inode
    Image.new("RGB", (2000, 500), "black").save(folder / "plots" / "something_new.png")
    assert text_of(folder, told) != first
    again = text_of(folder, told)
    assert text_of(folder, make_about(stages=None)) != again


def test_run_json_comes_back(tmp_path):
    told = make_about()
    run_info.write(tmp_path, told)
    assert run_info.read(tmp_path) == told
    assert run_info.read(tmp_path / "none") is None
    (tmp_path / run_info.FILE).write_text("{")
    with pytest.raises(UserError, match=r"run.json cannot be read .*; write it anew with `tables`"):
        run_info.read(tmp_path)


@pytest.mark.parametrize("name", ["office_home", "pacs", "visda2017"])
def test_run_json_keeps_every_field_of_a_card_of_files(tmp_path, name):
    """The serializer of the card itself keeps only what the keys of jobs depend on."""
    card = config.read_card(name).model_copy(update={"content": "0123"})
    told = make_about(card=card)
    run_info.write(tmp_path, told)
    assert run_info.read(tmp_path) == told
    assert run_info.read(tmp_path).card.licence == card.licence


def test_report_of_a_suite_on_files(tmp_path, capsys):
    """`report` reads run.json, which `tables` has written, and needs neither store nor images."""
    lines = [
        "extends: office_home",
        "name: small",
        "tasks: [Ar->Cl]",
        "methods: [ERM]",
        "augmentations: [none]",
    ]
    (tmp_path / "small.yaml").write_text("\n".join([*lines, "seeds: [0]", "selections: [last]", ""]))
    suite = config.read_suite(tmp_path / "small.yaml")
    card = config.read_card(suite.dataset)
    (row,) = training_records.wanted(suite, suite.tasks).to_dict("records")
    made = {"accuracy": 50.0, "per_class": [50.0] * 65, "seconds": 1.0, "key": "0123", "version": "0.1.0"}
    records.write(tmp_path / "small" / "records.csv", [row | made])
    run_info.write(tmp_path / "small", RunInfo(suite=suite, card=card, tasks=suite.tasks, file="small.yaml"))
    assert cli.main(["report", str(tmp_path / "small")]) == 0
    words = " ".join(Seen((tmp_path / "small" / "index.html").read_text()).words)
    assert card.title in words
    assert "2427 training images" in words.replace("\n", " ")


def test_the_reference_run_tells_its_commit_and_fits_into_a_mail():
    folder = ROOT / "results" / "reference" / "digits"
    told = run_info.read(folder)
    assert "commit 40df669" in told.note
    assert sum(stage.done for stage in told.stages) == 254
    shown = (folder / build.FILE).read_text()
    assert "commit 40df669" in shown
    assert len(shown) < 3_000_000


@pytest.mark.parametrize("augmentation", ["none", "terra"])
def test_the_command_of_a_row_asks_for_its_jobs(tmp_path, augmentation):
    """The shell writes a suite whose trainings have the keys of that row's in the whole suite."""
    suite = config.read_suite("digits")
    row = row_name("MCC", augmentation)
    fields = dict(report_for("uda").rows(suite))[row]
    command = reproduce_command.row_command(
        suite.name, "benchmarks/digits.yaml", row, fields, ["my method.py"]
    )
    write, run = command.splitlines()
    subprocess.run(["sh", "-ec", write], cwd=tmp_path, check=True)
    assert run == f"{reproduce_command.PROGRAM} run row.yaml --plugin 'my method.py'"
    card, base = config.read_card(suite.dataset), config.resolve_base_model(suite.base_model)
    cells = make_plan(config.read_suite(tmp_path / "row.yaml"), card, base).cells
    whole = make_plan(suite, card, base).cells
    asked = [cell.job.key for cell in whole if (cell.method, cell.augmentation) == ("MCC", augmentation)]
    assert [cell.job.key for cell in cells] == asked
    assert len(asked) == 36


def test_a_page_names_no_folder_of_this_machine(tmp_path, monkeypatch):
    """It may be sent: a suite and a plug-in elsewhere are named by their files alone."""
    assert run_info.shareable(str(tmp_path / "mine.yaml")) == "mine.yaml"
    assert run_info.shareable("digits") == "digits"
    assert run_info.shareable("benchmarks/digits.yaml") == "benchmarks/digits.yaml"
    monkeypatch.chdir(tmp_path)
    assert run_info.shareable(str(tmp_path / "suites" / "mine.yaml")) == "suites/mine.yaml"
    (line, *_) = reproduce_command.row_suite("mine", "suites/mine.yaml", "ERM", {})
    assert json.loads(line.removeprefix("extends: ")) == "suites/mine.yaml"


def test_the_whole_suite_is_repeated_with_its_plugins(folder):
    said = "".join(Seen(text_of(folder, make_about(file="mine.yaml", plugins=["my method.py"]))).words)
    assert f"{reproduce_command.PROGRAM} run mine.yaml --plugin 'my method.py'" in said
    assert "if you do not have mine.yaml, save the YAML above under this name" in said


def contrast(first: str, second: str) -> float:
    """WCAG 2's contrast of two colours #rrggbb, from 1 to 21."""

    def luminance(colour: str) -> float:
        shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_text_stands_out_in_light_and_dark():
    themes = re.findall(r"--ground: #.*", (html_table.PARTS / "page.css").read_text())
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", theme))
        for text in ("ink", "faint", "link"):
            assert min(contrast(colours[text], colours[on]) for on in ("ground", "raised")) >= 4.5


@pytest.mark.skipif(shutil.which("node") is None, reason="runs the page's script in Node")
def test_order_of_the_script():
    calls = [
        (["10.5", "9.25", "", "100"], True, [3, 0, 1, 2]),
        (["10.5", "9.25", "", "100"], False, [1, 0, 3, 2]),
        (["5", "5", "5"], True, [0, 1, 2]),
        (["MCC", "ERM", "ERM + Terra"], False, [1, 2, 0]),
    ]
    said = "".join(
        f"console.log(JSON.stringify(order({json.dumps(v)}, {json.dumps(d)})));" for v, d, _ in calls
    )
    script = (html_table.PARTS / "page.js").read_text() + said
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True, timeout=60)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [expected for *_, expected in calls]


def test_report_of_a_folder_without_run_json(tmp_path, capsys):
    """Its suite is then the one under benchmarks/ that the records name."""
    reference = records.read(ROOT / "results" / "reference" / "digits" / "records.csv")
    (tmp_path / "digits").mkdir()
    records.write(
        tmp_path / "digits" / "records.csv", reference[reference["task"] == "MN->MM"].to_dict("records")
    )
    assert cli.main(["report", "digits", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'digits' / 'index.html'}\n"
    seen = Seen((tmp_path / "digits" / "index.html").read_text())
    said = " ".join(" ".join(seen.words).split())
    assert "The time of the other stages is unknown" in said
    assert (
        "With which versions of Python and its libraries, and on which machine, this was made is unknown"
        in said
    )
    assert {path.name for path in (tmp_path / "digits" / "plots").iterdir()} == {
        "classes_MN-to-MM.pdf",
        "classes_MN-to-MM.png",
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([{}, {"suite": "other"}], "records.csv is of 2 suites ['other', 'small_suite']; a page is of one"),
        ([{}], "there is no suite 'small_suite'"),
    ],
)
def test_report_of_a_folder_that_cannot_be(tmp_path, capsys, changes, said):
    records.write(
        tmp_path / "records.csv", [make_row("MN->MM", "none", 0, 50.0, **change) for change in changes]
    )
    assert cli.main(["report", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


@pytest.fixture
def running(folder: Path) -> Iterator[str]:
    (folder / "index.html").write_text("here")
    with serve.server(folder, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{server.server_address[0]}:{server.server_port}"
        server.shutdown()


def test_serving_is_for_this_machine_alone(running, folder):
    assert running.startswith("127.0.0.1:")
    with urllib.request.urlopen(f"http://{running}/", timeout=10) as answer:
        assert answer.read() == b"here"
    port = int(running.split(":")[1])
    with pytest.raises(UserError, match=f"port {port} can't be taken .*; name another with --port"):
        serve.server(folder, port)


def answer(running: str, path: str, host: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(running, timeout=10)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    found = connection.getresponse()
    return found.status, found.read()


def test_another_host_is_refused(running):
    port = running.split(":")[1]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LocalHost:{port}"):
        assert answer(running, "/", host) == (200, b"here")
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", "", f"127.0.0.1:{port}.evil.example"):
        assert answer(running, "/", host)[0] == 421


def test_only_regular_files_within_the_folder_are_served(running, folder, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret" / "key")
    (folder / "linked").symlink_to(tmp_path / "secret")
    (folder / "within").symlink_to(folder / "index.html")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    for path in ("/link", "/linked/key", "/linked/", "/loop", "/pipe", "/plots/", "/../secret/key", "/a%00b"):
        assert answer(running, path)[0] == 404, path
    assert answer(running, "/within") == (200, b"here")
    assert answer(running, "/plots/loss_MN-to-MM.png")[0] == 200


def test_a_silent_connection_is_closed(running, monkeypatch):
    monkeypatch.setattr(serve.FolderHandler, "timeout", 0.2)
    host, port = running.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        assert connection.recv(1) == b""


def test_classes_that_differ_most_are_drawn_where_there_are_many():
    count = per_class.MOST + 10
    rows = [make_row("MN->MM", "none", 0, 1.0, per_class=[50.0] * count)]
    rows += [make_row("MN->MM", "terra", 0, 1.0, per_class=[50.0] * 20 + [60.0] * per_class.MOST)]
    rows[1]["per_class"] = rows[1]["per_class"][:count]
    rows[1]["per_class"][3] = 0.0
    shares = per_class.class_accuracies(pd.DataFrame(rows), [str(label) for label in range(count)])
    drawn = per_class._most_changed(shares)
    assert len(drawn) == per_class.MOST
    assert {3, *range(20, count)} <= set(drawn)
    assert drawn == sorted(drawn)


def test_accuracies_of_other_classes_are_refused():
    rows = pd.DataFrame([make_row("MN->MM", "none", 0, 1.0)])
    with pytest.raises(UserError, match=r"records.csv, task MN->MM, per_class: 2 accuracies for 5 classes"):
        per_class.class_accuracies(rows, CLASSES)


def test_pipes_and_links_among_pictures_are_passed_over(folder):
    plots = folder / "plots"
    Image.new("RGB", (8, 8)).save(folder.parent / "secret.png")
    os.mkfifo(plots / "pipe.png")
    (plots / "link.png").symlink_to(folder.parent / "secret.png")
    text = text_of(folder, make_about())
    assert "something new" in text
    assert "pipe" not in text
    assert "Other figures: link" not in text


@pytest.mark.parametrize("name", ["records.csv", "run.json"])
def test_a_pipe_for_a_file_of_a_results_folder_is_refused(folder, capsys, name):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert cli.main(["report", str(folder)]) == 2
    assert f"{name} cannot be read" in capsys.readouterr().err


def test_run_json_that_leads_out_of_its_folder_is_refused(folder, capsys):
    path = run_info.write(folder, make_about())
    path.write_text(path.read_text().replace('"MM"', '"../../escaped"').replace("->MM", "->../../escaped"))
    assert cli.main(["report", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "run.json cannot be read ('card.domains.../../escaped': this becomes the name of a file" in said
    assert not list(folder.parent.parent.glob("*escaped*"))


@pytest.mark.parametrize("name", ["../mine.yaml", "x" * 100_000])
def test_records_whose_suite_is_no_name_are_refused_at_once(tmp_path, capsys, name):
    records.write(tmp_path / "records.csv", [make_row("MN->MM", "none", 0, 50.0)])
    text = (tmp_path / "records.csv").read_text()
    (tmp_path / "records.csv").write_text(text.replace("small_suite", name))
    assert cli.main(["report", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert (
        "line 2, column suite: expected a name that a file can have, of at most 100 characters, "
        f"not '{name[:40]}'" in said
    )


def test_records_of_thousands_of_suites_are_refused_in_one_sentence(tmp_path, capsys):
    rows = [make_row("MN->MM", "none", 0, 50.0, suite=f"suite{index}") for index in range(2000)]
    records.write(tmp_path / "records.csv", rows)
    assert cli.main(["report", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "records.csv is of 2000 suites ['suite0', 'suite1', 'suite10', 'suite100', ...]" in said
