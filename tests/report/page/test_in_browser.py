"""The page in a real browser: sorting, choosing, pictures, keyboard, console, contrast, width."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from pipeline import config
from pipeline.core.paths import ROOT
from pipeline.report import records
from pipeline.report.collect import info_of_folder
from pipeline.report.page import build
from pipeline.report.page.run_info import RunInfo, StageTime
from tests.report.page.browser import CHROMIUM, Browser
from tests.report.report_samples import CLASSES, TASKS, make_suite

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

LABELS = (
    "[...document.querySelectorAll('.rule:not([hidden]) table.sortable tbody th')].map((e) => e.textContent)"
)

CONTRASTS = """(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const [r, g, b, a = 1] = numbers(getComputedStyle(e).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
  };
  const light = (colour) => {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = colour.map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [], words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (words.nextNode()) {
    const e = words.currentNode.parentElement;
    if (!words.currentNode.data.trim() || !e.checkVisibility() || e.closest("script, style")) continue;
    const ink = light(numbers(getComputedStyle(e).color).slice(0, 3));
    const both = [ink, light(ground(e))].sort((a, b) => b - a);
    found.push([(both[0] + 0.05) / (both[1] + 0.05), words.currentNode.data.trim()]);
  }
  return found;
})()"""
"""WCAG 2's contrast of every text that is seen, with the text."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two rules, two pictures and hostile names."""
    from tests.report.report_samples import GRID, make_row

    folder = tmp_path_factory.mktemp("shown")
    shares = {"per_class": [10.0, 20.0, 30.0, 40.0, 50.0]}
    rows = [
        make_row(task, name, seed, pair[seed] - drop, selection=rule, method="A & B_<i>", **shares)
        for rule, drop in (("last", 0.0), ("oracle", 1.0))
        for (name, task), pair in GRID.items()
        for seed in (0, 1)
    ]
    records.write(folder / "records.csv", rows)
    (folder / "plots").mkdir()
    for place, name in enumerate(("tsne_MN-to-MM_ERM_terra", "loss_MN-to-MM")):
        Image.new("RGB", (1600, 500), (200, 100 * place, 0)).save(folder / "plots" / f"{name}.png")
    told = RunInfo(
        suite=make_suite(
            selections=["last", "oracle"], methods=[{"name": "ERM", "label": "A & B_<i>"}], title="A & B_<i>"
        ),
        card=config.read_card("digits").model_copy(update={"classes": CLASSES}),
        tasks=TASKS,
        file="digits",
        stages=[StageTime(kind="train", done=12, jobs=12, seconds=18.0)],
        made_with={"python": {"3.12.0": 12}, "torch": {"2.9.0": 10, "2.10.0": 2}},
    )
    return build.write_page(folder, told, records.read(folder / "records.csv"))


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(window: Browser, file: Path) -> Iterator[Browser]:
    """The page newly opened; after the test there must have been no error and no request."""
    window.open(file)
    yield window
    assert window.problems == []


def test_a_click_sorts(browser):
    suites_order = ["A & B_<i>", "A & B_<i> + base", "A & B_<i> + Terra"]
    seen = [browser.run(LABELS)]
    for _ in range(3):
        browser.click(".rule:not([hidden]) thead th:last-child button")
        seen.append(browser.run(LABELS))
    assert seen == [suites_order, suites_order[::-1], suites_order, suites_order]
    browser.click(".rule:not([hidden]) thead th:first-child button")
    assert browser.run("document.querySelector('[aria-sort]').getAttribute('aria-sort')") == "ascending"
    assert browser.run("document.getElementById('sorted').textContent") == "Sorted by Method: ascending"


def test_the_keyboard_does_it_all(browser):
    """The first Tab offers to skip; then sort a column, choose a rule, open and close a figure."""
    browser.press("Tab")
    assert browser.run("document.activeElement.textContent") == "Skip to the tables"
    browser.run("document.querySelector('.rule:not([hidden]) thead th:last-child button').focus()")
    browser.press("Enter")
    assert browser.run(LABELS)[0] == "A & B_<i> + Terra"
    browser.run("document.querySelector('input[value=last]').focus()")
    browser.press("ArrowRight")
    assert browser.run("[...document.querySelectorAll('.rule')].map((e) => e.hidden)") == [True, False]
    browser.run("document.querySelector('.enlarge').focus()")
    browser.press("Enter")
    first = browser.run("document.getElementById('large-name').textContent")
    assert browser.run("document.getElementById('large').open")
    assert first.startswith("t-SNE")
    browser.press("ArrowRight")
    assert browser.run("document.getElementById('large-name').textContent") == "Losses of fine-tuning: MN→MM"
    browser.press("Escape")
    assert not browser.run("document.getElementById('large').open")
    assert browser.run("document.activeElement.className") == "enlarge"


def test_every_stop_of_the_keyboard_is_seen(browser):
    """Tab goes round; what has the focus is on the page, has a name, and an outline."""
    stops = []
    for _ in range(200):
        browser.press("Tab")
        stop = browser.run(
            "(() => { const e = document.activeElement, b = e.getBoundingClientRect(); return [e.tagName,"
            " (e.textContent || e.alt || e.ariaLabel || e.value || '').trim(), b.width * b.height,"
            " getComputedStyle(e).outlineStyle]; })()"
        )
        if stop[0] == "BODY":
            break
        stops.append(stop)
    assert 15 < len(stops) < 200
    unseen = [stop for stop in stops if not stop[2] or (stop[3] == "none" and stop[0] != "MAIN")]
    assert unseen == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_text_stands_out_and_nothing_sticks_out(browser, file, scheme, width):
    browser.open(file, width, scheme)
    assert browser.run("document.documentElement.scrollWidth") <= width
    browser.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    found = browser.run(CONTRASTS)
    assert len(found) > 100
    assert [(text, ratio) for ratio, text in found if ratio < 4.5] == []
    dark = (
        sum(browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")) < 380
    )
    assert dark == (scheme == "dark")


WIDTHS = """[...document.querySelectorAll(':is(.rule:not([hidden]), section) > .wide')].map(
  (e) => [e.scrollWidth, e.clientWidth, document.documentElement.clientWidth])"""


@pytest.mark.parametrize("width", [1280, 1920])
@pytest.mark.parametrize("name", ["digits", "morph"])
def test_twelve_tasks_and_all_scores_of_morphs_fit_into_the_window(browser, tmp_path, name, width):
    folder = ROOT / "results" / "reference" / name
    recorded = records.read(folder / "records.csv")
    page = tmp_path / "index.html"
    page.write_text(build.render_page(info_of_folder(folder, recorded), recorded, []))
    browser.open(page, width)
    tables = browser.run(WIDTHS)
    assert tables
    for table, room, window in tables:
        assert table <= room
        assert room > 0.9 * window, "the page uses the width of the window"


def test_standard_errors_are_under_the_numbers(browser):
    number, error = browser.run(
        "(() => { const cell = document.querySelector('td:has(small)'), range = document.createRange();"
        " range.selectNodeContents(cell.firstChild);"
        " const small = cell.querySelector('small').getBoundingClientRect();"
        " return [range.getBoundingClientRect().bottom, small.top]; })()"
    )
    assert error >= number - 3


def test_hostile_names_are_text(browser):
    assert browser.run("document.title") == "A & B_<i>"
    assert browser.run("document.querySelectorAll('i').length") == 0
