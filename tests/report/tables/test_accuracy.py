"""Averages and errors against an independent computation, and every format against its golden text."""

import io
import re
import statistics

import pandas as pd
import pytest
from rich.console import Console

from pipeline.config import AdapterSpec, AnalogySpec
from pipeline.report import training_records
from pipeline.report.tables import accuracy, formats, names
from tests.report.report_samples import GRID, TASKS, make_row, make_suite


def standard_error(values):
    return statistics.stdev(values) / len(values) ** 0.5


def table_of(frame, tasks=TASKS, selection="last", **changes):
    return accuracy.accuracy_table(frame, make_suite(**changes), tasks, selection)


def test_means_errors_and_gains(frame):
    table = table_of(frame)
    assert [row.label for row in table.rows] == ["ERM", "+ base", "+ Terra"]
    plain = statistics.mean(statistics.mean(GRID["none", task]) for task in TASKS)
    for row in table.rows:
        for task, cell in zip(TASKS, row.tasks, strict=True):
            values = GRID[row.augmentation, task]
            assert cell.mean == pytest.approx(statistics.mean(values))
            assert cell.error == pytest.approx(standard_error(values))
        by_seed = [statistics.mean(GRID[row.augmentation, task][seed] for task in TASKS) for seed in (0, 1)]
        assert row.average.mean == pytest.approx(statistics.mean(by_seed))
        assert row.average.error == pytest.approx(standard_error(by_seed))
        gain = None if row.augmentation == "none" else pytest.approx(statistics.mean(by_seed) - plain)
        assert row.gain == gain
        assert row.runs == 4
        assert row.averaged == 2


def test_the_error_of_an_average_is_not_the_average_of_errors():
    """Seeds that err in opposite ways on two tasks leave their averages alike."""
    opposite = {"MN->MM": (40.0, 60.0), "MN->UC": (60.0, 40.0)}
    rows = [make_row(task, "none", seed, opposite[task][seed]) for task in TASKS for seed in (0, 1)]
    (row,) = table_of(pd.DataFrame(rows), augmentations=["none"]).rows
    assert [cell.error for cell in row.tasks] == [10.0, 10.0]
    assert row.average.error == 0.0


CAPTION = (
    "Target test accuracy in percent on digits (digits_cnn), mean ± standard error over 2 seeds. "
    "Checkpoint: last iterate. Best of a column in bold, second underlined. "
    "Added to training below a method: base, images of the un-adapted base model (control); "
    "Terra, images made with Terra; in brackets, the gain over the method alone."
)


def test_the_caption_says_how_the_analogies_of_a_lorweb_were_drawn(frame):
    """The source of its data is a setting, which decides what the row means."""
    grid = AdapterSpec(type="lorweb", analogy=AnalogySpec(pairing="exact", context="grid"))
    pseudo = AdapterSpec(type="lorweb", analogy=AnalogySpec(pairing="pseudo"))
    told = table_of(
        frame, adapters={"mix": grid, "lorweb": pseudo}, augmentations=["none", "mix", "lorweb"]
    ).caption
    assert "mix, images made with a LoRWeB, its analogies of rendered pairs, painted into a 2x2 grid;" in told
    assert "LoRWeB, images made with a LoRWeB, its analogies drawn by pseudo-labels;" in told


def test_markdown(frame):
    assert formats.markdown(table_of(frame)) == (
        "### Small\n\n"
        "| Method | MN→MM | MN→UC | Avg |\n"
        "| :-- | --: | --: | --: |\n"
        "| ERM | 31.0 ± 1.0 | <u>60.6</u> ± 0.6 | 45.8 ± 0.8 |\n"
        "| + base | <u>70.5</u> ± 0.5 | <u>60.6</u> ± 0.0 | <u>65.6</u> ± 0.3 (+19.8) |\n"
        "| + Terra | **76.9** ± 1.7 | **85.1** ± 5.1 | **81.0** ± 3.4 (+35.2) |\n\n"
        + CAPTION.replace("_", "\\_")
        + "\n"
    )


def test_latex(frame):
    assert formats.latex(table_of(frame)) == (
        "% \\usepackage{booktabs, graphicx}\n"
        "\\begin{table}[t]\n"
        "\\centering\n"
        "\\caption{Small. " + CAPTION.replace("_", "\\_").replace("±", "$\\pm$") + "}\n"
        "\\label{tab:small-suite-last}\n"
        "\\vspace{1ex}\n"
        "\\setlength{\\tabcolsep}{4pt}\n"
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
        "\\begin{tabular}{lccc}\n"
        "\\toprule\n"
        "Method & MN$\\to$MM & MN$\\to$UC & Avg \\\\\n"
        "\\midrule\n"
        "ERM & 31.0{\\scriptsize{}$\\pm$1.0} & \\underline{60.6}{\\scriptsize{}$\\pm$0.6}"
        " & 45.8{\\scriptsize{}$\\pm$0.8} \\\\\n"
        "\\quad + base & \\underline{70.5}{\\scriptsize{}$\\pm$0.5}"
        " & \\underline{60.6}{\\scriptsize{}$\\pm$0.0}"
        " & \\underline{65.6}{\\scriptsize{}$\\pm$0.3 (+19.8)} \\\\\n"
        "\\quad + Terra & \\textbf{76.9}{\\scriptsize{}$\\pm$1.7} & \\textbf{85.1}{\\scriptsize{}$\\pm$5.1}"
        " & \\textbf{81.0}{\\scriptsize{}$\\pm$3.4 (+35.2)} \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}}\n"
        "\\end{table}\n"
    )


def test_csv(frame):
    assert formats.csv(table_of(frame)) == (
        "dataset,selection,method,augmentation,MN->MM,MN->MM error,MN->UC,MN->UC error,Avg,Avg error,"
        "gain,tasks averaged,runs,runs expected\n"
        "digits,last,ERM,none,31.00,1.00,60.60,0.60,45.80,0.80,,2,4,4\n"
        "digits,last,ERM,base,70.50,0.50,60.62,0.02,65.56,0.26,19.76,2,4,4\n"
        "digits,last,ERM,terra,76.90,1.70,85.10,5.10,81.00,3.40,35.20,2,4,4\n"
    )


def shown(table, width):
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_terminal_as_on_paper_where_it_fits(frame):
    text = shown(formats.terminal(table_of(frame), 100), 100)
    assert re.search(r"Method +MN→MM +MN→UC +Avg", text)
    assert re.search(r"  \+ Terra +76\.9±1\.7 +85\.1±5\.1 +81\.0±3\.4 \(\+35\.2\)", text)
    assert "Checkpoint: last iterate" in " ".join(text.split())


def test_terminal_is_turned_where_it_does_not_fit(frame):
    text = shown(formats.terminal(table_of(frame), 45), 45)
    assert re.search(r"MN→MM +31\.0±1\.0 +70\.5±0\.5 +76\.9±1\.7", text)
    assert re.search(r"Avg +45\.8±0\.8 +65\.6±0\.3 +81\.0±3\.4", text)
    assert re.search(r"\(\+19\.8\) +\(\+35\.2\)", text)
    assert "…" not in text


def test_full_suite_fits_a_terminal_of_80_columns():
    domains = ["MN", "MM", "UC", "SY"]
    tasks = [f"{a}->{b}" for a in domains for b in domains if a != b]
    suite = make_suite(methods=["ERM", "MCC"], seeds=[0, 1, 2])
    rows = [
        cell | {"accuracy": 50.0 + 7 * cell["seed"], "version": "0.1.0"}
        for cell in training_records.wanted(suite, tasks).to_dict("records")
    ]
    text = shown(formats.terminal(accuracy.accuracy_table(pd.DataFrame(rows), suite, tasks, "last"), 80), 80)
    assert len(re.findall(r"57\.0±4\.0", text)) == 13 * 6
    assert "…" not in text


def test_the_selection_rule_is_named(rows):
    frame = pd.DataFrame(
        [
            row | {"selection": rule, "accuracy": row["accuracy"] + extra}
            for row in rows
            for rule, extra in (("last", 0.0), ("oracle", 5.0))
        ]
    )
    suite = {"selections": ["last", "oracle"]}
    oracle = table_of(frame, selection="oracle", **suite)
    for writer in (formats.markdown, formats.latex):
        assert "oracle (chosen on the target's test labels)" in writer(oracle)
        assert "oracle" not in writer(table_of(frame, **suite))
    assert formats.csv(oracle).splitlines()[1].startswith("digits,oracle,ERM,none,36.00")
    text = shown(formats.terminal(oracle, 90), 90)
    assert "oracle (chosen on the target's test labels)" in " ".join(text.split())


def test_missing_cells_are_shown_as_missing(frame):
    gone = (frame["augmentation"] == "terra") & (frame["task"] == "MN->UC")
    fewer = (frame["augmentation"] == "base") & (frame["task"] == "MN->MM") & (frame["seed"] == 1)
    table = table_of(frame[~gone & ~fewer])
    base, terra = table.rows[1:]
    assert terra.tasks[1].number + terra.tasks[1].suffix == "–"
    assert terra.average.number + terra.average.suffix == "76.9 ± 1.7 (1 of 2, +45.9)"
    assert terra.average.place == 0, "an average over fewer tasks is not ranked"
    assert (base.average.place, table.rows[0].average.place) == (1, 2)
    assert base.tasks[0].number + base.tasks[0].suffix == "70.0†"
    assert base.average.number + base.average.suffix == "65.3† (+19.5)"
    assert "Missing: 3 of 12 trainings (–: no result yet; †: fewer seeds)." in table.caption
    assert "| 76.9 ± 1.7 (1 of 2, +45.9) |" in formats.markdown(table).replace("**", "").replace("<u>", "")
    assert "& -- &" in formats.latex(table)
    assert "\\underline{70.0}{\\scriptsize{}$^\\dagger$}" in formats.latex(table)
    assert formats.csv(table).splitlines()[3] == "digits,last,ERM,terra,76.90,1.70,,,76.90,1.70,45.90,1,2,4"


def test_a_gain_is_taken_on_the_tasks_that_both_have(frame):
    table = table_of(frame[~((frame["augmentation"] == "none") & (frame["task"] == "MN->UC"))])
    assert table.rows[2].average.suffix == " ± 3.4 (+45.9 on 1)"
    assert table.rows[2].gain == pytest.approx(statistics.mean(GRID["terra", "MN->MM"]) - 31.0)
    no_plain = table_of(frame[frame["augmentation"] != "none"])
    assert no_plain.rows[0].average.number == "–"
    assert no_plain.rows[2].gain is None


def test_no_records_at_all(frame):
    table = table_of(frame[:0])
    assert {cell.number + cell.suffix for row in table.rows for cell in row.cells} == {"–"}
    assert "Missing: 12 of 12" in table.caption
    assert "†" not in table.caption


def test_one_seed_has_no_error(frame):
    table = table_of(frame[frame["seed"] == 0], seeds=[0])
    assert table.rows[0].average.suffix == ""
    assert "one seed, so no error" in table.caption


def test_records_that_the_suite_does_not_ask_for_are_counted(frame):
    table = table_of(frame, augmentations=["none", "terra"])
    assert [row.augmentation for row in table.rows] == ["none", "terra"]
    assert "Left out: 4 records that the suite does not ask for" in table.caption
    other = pd.concat([frame, frame[:1].assign(suite="another", accuracy=99.0)])
    assert table_of(other).rows == table_of(frame).rows
    assert "Left out: 1 record that" in table_of(other).caption


def test_without_a_plain_row_the_block_is_headed_by_method_and_addition(frame):
    table = table_of(frame, augmentations=["terra", "base"])
    assert [row.label for row in table.rows] == ["ERM + Terra", "+ base"]
    assert all(row.gain is None for row in table.rows)


def test_differences_have_a_sign():
    assert [names.signed(value) for value in (1.25, -3.0, -0.04)] == ["+1.2", "−3.0", "+0.0"]


def test_a_repeated_record_is_never_averaged(frame):
    with pytest.raises(ValueError, match="duplicate"):
        table_of(pd.concat([frame, frame[:1]]))


SPECIAL = r"A & B_<i> 50% $x$ #1 {y} ~z^2 \w |v|"
NAME = SPECIAL.replace("\\", "")
"""A method's name has no backslash, because it becomes a part of file names."""


def test_latex_escapes():
    assert formats.latex_escape(SPECIAL) == (
        r"A \& B\_\textless{}i\textgreater{} 50\% \$x\$ \#1 \{y\} \textasciitilde{}z\textasciicircum{}2"
        r" \textbackslash{}w \textbar{}v\textbar{}"
    )
    assert formats.latex_escape("±→−–†") == r"$\pm$$\to$$-$--$^\dagger$"


def test_markdown_escapes():
    assert formats.markdown_escape("A & B_<i> *x* |v| [y] \\") == r"A & B\_\<i\> \*x\* \|v\| \[y\] \\"


def test_a_wide_latex_table_takes_both_columns_of_a_page(frame):
    tasks = [f"A->{name}" for name in "BCDEFGH"]
    text = formats.latex(table_of(frame, tasks))
    assert "\\begin{table*}[t]\n" in text
    assert text.endswith("\\end{table*}\n")


def special_table(frame):
    return table_of(frame.assign(method=NAME), methods=[NAME], title=SPECIAL)


def test_special_characters_do_not_break_a_table(frame):
    lines = [line for line in formats.markdown(special_table(frame)).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {5}
    assert NAME in pd.read_csv(io.StringIO(formats.csv(special_table(frame))))["method"].tolist()
