"""Names of any alphabet in figures: no box, no warning, and one sentence that tells of the code points."""

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

from pipeline import cli, config
from pipeline.report import records
from pipeline.report.page import run_info
from pipeline.report.page.run_info import RunInfo
from pipeline.report.plots import confusion, contact_sheet, letters, style
from tests.report.report_samples import TASKS, make_suite

CLASSES = ["猫", "犬", "🐎", "été", "four"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("MN→MM ± 0.5, été, −3 †", "MN→MM ± 0.5, été, −3 †"),
        ("猫 a", "\\u732b a"),
        ("🐎", "\\U0001f40e"),
        ("a\x1b[31m\nb", "a\\u001b[31m\nb"),
    ],
)
def test_letters_that_the_font_lacks_become_code_points(text, shown):
    assert letters.drawable(text) == shown
    assert letters.drawable(shown) == shown


def test_every_text_of_a_figure_is_replaced():
    with style.house_style(), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = Figure(layout="constrained")
        figure.suptitle("猫")
        axes = figure.subplots()
        axes.plot([0, 1], label="犬")
        axes.set_xticks([0, 1], ["鳥", "b"])
        axes.set_yticks([0.5])
        axes.set_yticklabels(["魚"])
        axes.annotate("猫", (0, 0))
        axes.legend()
        assert style.png(figure)
        assert style.pdf(figure)
        assert [label.get_text() for label in axes.get_xticklabels()] == ["\\u9ce5", "b"]
        assert axes.get_legend().get_texts()[0].get_text() == "\\u72ac"


def test_confusions_and_contact_sheets_draw_any_class(tmp_path, generate_artifact):
    np.savez(tmp_path / "p.npz", labels=np.arange(5), **{"last.predicted": np.arange(5)})
    folder, sources = generate_artifact("made", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        confusion.draw({"none": [tmp_path / "p.npz"]}, "last", CLASSES, "猫")
        named = contact_sheet.draw(folder, CLASSES, "猫", sources=sources)[".png"]
    codes = contact_sheet.draw(folder, list(map(letters.drawable, CLASSES)), "\\u732b", sources=sources)[
        ".png"
    ]
    assert named == codes


def test_report_warns_of_nothing_and_says_it_once(tmp_path, rows, capsys):
    suite = make_suite(title="猫と犬", methods=[{"name": "ERM", "label": "方法"}])
    records.write(tmp_path / "records.csv", [row | {"method": "方法"} for row in rows])
    card = config.read_card("digits").model_copy(update={"classes": CLASSES})
    run_info.write(tmp_path, RunInfo(suite=suite, card=card, tasks=TASKS, file="digits"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cli.main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().err.count(letters.NOTE) == 1
    page = (tmp_path / "index.html").read_text()
    assert page.count(letters.NOTE) == 1
    assert "猫と犬" in page


def test_the_font_has_every_letter_of_the_usual_names(frame):
    assert letters.note("Small", ["été"], frame) == ""
