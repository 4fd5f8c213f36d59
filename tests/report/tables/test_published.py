"""Published figures: which rows have a counterpart, the tasks of averages, and faulty files."""

import pandas as pd
import pytest

from pipeline import config
from pipeline.config import task_name
from pipeline.core.errors import UserError
from pipeline.planning.tasks import suite_tasks
from pipeline.report.tables import published, published_files
from pipeline.report.trainings import write_published
from tests.report.report_samples import make_row, make_suite

DOMAINS = ["Ar", "Cl", "Pr", "Rw"]
TASKS = [f"{a}->{b}" for a in DOMAINS for b in DOMAINS if a != b]
BACKBONE = "resnet50.tv_in1k"


def home(**changes):
    plain = {
        "name": "home",
        "dataset": "office_home",
        "tasks": "all",
        "augmentations": ["none", "terra"],
        "selections": ["oracle", "last"],
        "train": {"backbone": BACKBONE, "iterations": 1},
    }
    return make_suite(**plain | changes)


def rows(tasks=TASKS, **changes):
    same = {"suite": "home", "dataset": "office_home", "backbone": BACKBONE} | changes
    return pd.DataFrame(
        [
            make_row(task, augmentation, seed, 60.0 + seed, selection=selection, **same)
            for task in tasks
            for augmentation in ("none", "terra")
            for seed in (0, 1)
            for selection in ("oracle", "last", "source")
        ]
    )


@pytest.fixture(scope="module")
def figures():
    return published_files.read_all(published_files.files())


def test_a_row_beside_its_figure(figures):
    found = published.published_table(rows(), home(), TASKS, "oracle", figures)
    (one,) = found.comparisons
    assert (one.method, one.augmentation, one.averaged) == ("ERM", "none", 12)
    assert (one.pairs[0].theirs, one.pairs[0].difference) == (41.1, pytest.approx(60.5 - 41.1))
    assert (one.pairs[-1].theirs, one.pairs[-1].difference) == (58.4, pytest.approx(60.5 - 58.4))
    text = published.markdown(found)
    assert "| difference | +19.4 |" in text
    assert "thuml/Transfer-Learning-Library" in text
    assert "\\quad published [1] & 41.1 &" in published.latex(found)
    assert "office_home,oracle,ERM,none,Ar->Cl,60.50,0.50,41.10,19.40,,thuml" in published.csv(found)


def test_an_average_over_fewer_tasks_is_taken_alike_and_says_so(figures):
    fewer = TASKS[:2]
    found = published.published_table(rows(fewer), home(tasks=fewer), fewer, "oracle", figures)
    average = found.comparisons[0].pairs[-1]
    assert average.theirs == pytest.approx((41.1 + 65.9) / 2)
    part = published.published_table(rows(fewer), home(), TASKS, "oracle", figures)
    assert part.comparisons[0].pairs[-1] == average
    assert " (2 of 12) |" in published.markdown(part)


def test_others_name_the_domain_held_out_by_its_first_letter(figures):
    held_out = [f"->{domain}" for domain in DOMAINS]
    suite = home(setting="dg", augmentations=["none"], selections=["source"])
    found = published.published_table(rows(held_out, setting="dg"), suite, held_out, "source", figures)
    mine = figures[
        (figures["dataset"] == "office_home")
        & (figures["setting"] == "dg")
        & (figures["method"] == "ERM")
        & (figures["selection"] == "training-domain validation set")
        & (figures["source"] == found.comparisons[0].source)
    ].set_index("task")["accuracy"]
    theirs = [pair.theirs for pair in found.comparisons[0].pairs]
    assert theirs == [mine[name] for name in ("A", "C", "P", "R", "avg")]
    assert published._their_name("->MN", ["->MN", "->MM"], {"M": 1.0}) == "MN", "M may be either"


def test_where_nothing_is_published_nothing_is_written(figures, frame, tmp_path):
    assert write_published(make_suite(), ["MN->MM", "MN->UC"], frame, tmp_path) == []
    assert published.published_table(rows(), home(), TASKS, "last", figures) is None
    other = home(train={"backbone": "resnet18", "iterations": 1})
    assert published.published_table(rows(), other, TASKS, "oracle", figures) is None


def test_a_mean_over_classes_stands_beside_ours_where_the_dataset_has_one_task(figures):
    vit = {"backbone": "vit_base_patch16_224.augreg_in21k_ft_in1k", "dataset": "visda2017"}
    suite = home(
        dataset="visda2017",
        tasks=["S->R"],
        metric="class_mean",
        methods=["SDAT"],
        train={"backbone": vit["backbone"], "iterations": 1},
    )
    ours = rows(["S->R"], method="SDAT", **vit)
    found = published.published_table(ours, suite, ["S->R"], "oracle", figures)
    (one,) = found.comparisons
    assert (one.pairs[0].theirs, one.pairs[-1].theirs) == (None, 89.8)
    assert one.pairs[-1].ours == found.table.rows[0].average
    by_images = suite.model_copy(update={"metric": "accuracy"})
    assert published.published_table(ours, by_images, ["S->R"], "oracle", figures) is None


@pytest.mark.parametrize(
    ("suite_name", "method", "average"),
    [
        (
            "office_home_vit",
            "SDAT",
            (70.8 + 80.7 + 90.5 + 85.2 + 87.3 + 89.7 + 84.1 + 70.7 + 90.6 + 88.3 + 75.5 + 92.1) / 12,
        ),
        ("office_home_dg", "SWAD", 70.6),
        ("office_home_dg", "SAGM", 70.1),
        ("office_home_dg", "MIRO", 70.5),
        ("pacs", "SWAD", 88.1),
        ("pacs", "SAGM", 86.6),
        ("pacs", "MIRO", 85.4),
    ],
)
def test_what_authors_state_is_beside_ours(figures, suite_name, method, average):
    """The figures of the methods' own repositories, in the suites that follow them."""
    suite, card = config.read_suite(suite_name), config.read_card(config.read_suite(suite_name).dataset)
    rule = "oracle" if suite.setting == "uda" else "source"
    tasks = [task_name(suite.setting, *ends) for ends in suite_tasks(suite, card)]
    backbone = suite.train.backbone
    ours = pd.DataFrame(
        [
            make_row(
                task,
                "none",
                0,
                60.0,
                suite=suite.name,
                dataset=suite.dataset,
                setting=suite.setting,
                method=method,
                backbone=backbone,
                selection=rule,
            )
            for task in tasks
        ]
    )
    found = published.published_table(ours, suite, tasks, rule, figures)
    stated = [one.pairs[-1].theirs for one in found.comparisons if one.method == method]
    assert pytest.approx(average) in stated


HEAD = "dataset,setting,method,backbone,task,accuracy,selection,source,augmentation\n"
LINE = "office_home,uda,ERM,resnet50,Ar->Cl,70.0,last,ours 2026,terra\n"


def test_a_users_file_with_an_augmentation(tmp_path):
    (tmp_path / "mine.csv").write_text(HEAD + LINE)
    found = published.published_table(
        rows(), home(), TASKS, "last", published_files.read_all(tmp_path.glob("*.csv"))
    )
    assert [(one.augmentation, one.pairs[0].difference) for one in found.comparisons] == [("terra", -9.5)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD.replace("backbone", "network") + LINE, "line 1: the column 'backbone' is missing"),
        (
            HEAD + LINE.replace("70.0", "170"),
            "line 2, column accuracy: expected a percentage from 0 to 100, not '170'",
        ),
        (
            HEAD + LINE.replace("70.0", "nan"),
            "line 2, column accuracy: expected a percentage from 0 to 100, not 'nan'",
        ),
        (HEAD + LINE.replace("Ar->Cl", ""), "line 2, column task: empty; fill it in, or remove the line"),
        (
            HEAD + LINE.replace("ours 2026", "ours, 2026"),
            "line 2: not as many fields as the first line names; put",
        ),
        (HEAD + LINE + LINE, "line 3: repeats the figure of "),
    ],
)
def test_faults_are_named(tmp_path, text, said):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(UserError) as error:
        published_files.read_all(tmp_path.glob("*.csv"))
    assert str(error.value).startswith(f"{tmp_path / 'mine.csv'}, {said}")
