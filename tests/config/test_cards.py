"""Cards agree with the published counts, and the keys of jobs depend on the images alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from pipeline import config
from pipeline.config import Archive, FolderCard, read_card, resolve_card
from pipeline.config.names import PathName
from pipeline.core.errors import UserError
from pipeline.core.job import Job
from pipeline.core.paths import shipped_folder
from pipeline.planning.kinds.prepare import PrepareParams

PUBLISHED = {
    "office_home": (65, {"Ar": 2427, "Cl": 4365, "Pr": 4439, "Rw": 4357}, 15_588),
    "visda2017": (12, {"S": 152_397, "R": 55_388}, 207_785),
    "pacs": (7, {"P": 1670, "A": 2048, "C": 2344, "S": 3929}, 9_991),
    "vlcs": (5, {"C": 1415, "L": 2656, "S": 3282, "V": 3376}, 10_729),
    "office31": (31, {"A": 2817, "D": 498, "W": 795}, 4_110),
    "domainnet": (
        345,
        {"clp": 48_129, "inf": 51_605, "pnt": 72_266, "qdr": 172_500, "rel": 172_947, "skt": 69_128},
        586_575,
    ),
}


def key(card: config.DatasetCard) -> str:
    return Job("prepare", PrepareParams(card=card), {}, "prepare").key


def test_the_key_of_digits_is_that_of_the_reference_runs() -> None:
    assert key(resolve_card(read_card("digits"))) == "b9a37f14adbca27077bf7161"


@pytest.mark.parametrize("name", PUBLISHED)
def test_cards_state_the_published_counts(name: str) -> None:
    classes, domains, images = PUBLISHED[name]
    card = read_card(name)
    assert len(card.classes) == len(set(card.classes)) == classes
    assert {short: domain.images for short, domain in card.domains.items()} == domains
    assert sum(domains.values()) == images
    assert card.licence
    assert card.citation.startswith("@")
    assert any(source.automatic for source in card.sources) or name == "vlcs"
    if name != "domainnet":  # in the order of the authors' lists
        assert card.classes == sorted(card.classes)  # as ImageFolder numbers folders


def test_words_of_classes_in_prompts() -> None:
    card = read_card("office_home")
    words = {name: card.word(label) for label, name in enumerate(card.classes)}
    assert words["Mouse"] == "computer mouse"
    assert words["Marker"] == "marker pen"
    assert words["Alarm_Clock"] == "alarm clock"


def test_the_key_depends_on_the_images_and_not_on_words_and_pages(data_root: Path) -> None:
    card = read_card("pacs")
    told = {
        "licence": "another",
        "citation": "@x",
        "title": "x",
        "prompt_words": {"dog": "hound"},
        "sources": [],
    }
    assert key(card.model_copy(update=told)) == key(card) == key(resolve_card(card))
    (data_root / "pacs").mkdir(parents=True)
    for content in ("a", "b"):
        (data_root / "pacs" / "dataset.json").write_text(json.dumps({"content": content}))
        assert resolve_card(card).content == content
    assert len({key(card.model_copy(update={"content": content})) for content in (None, "a", "b")}) == 3
    (data_root / "pacs" / "dataset.json").write_text("{")
    with pytest.raises(UserError, match=r"dataset\.json cannot be read .*; import pacs again"):
        resolve_card(card)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda card: card["domains"]["P"].update(images=1),
            r"domains\.P: per_class has 7 numbers with the sum 1670",
        ),
        (lambda card: card["domains"]["P"].update(test=1), r"domains\.P: test goes with `split: lists`"),
        (lambda card: card.update(split="half"), r"line \d+, split: 'half' is not one of its values.*'all'"),
        (lambda card: card["sources"][0]["archives"][0].update(into="../x"), "a file and a folder below"),
        (lambda card: card["sources"][0]["archives"][0].update(checksum="md5:12"), "checksum"),
        (lambda card: card.pop("sources"), r"sources: this field is missing"),
        (lambda card: card.update(prompt_words={"cat": "x"}), "'cat'"),
        (lambda card: card["classes"].__setitem__(1, "dog"), "classes names 'dog' twice"),
        (
            lambda card: card["classes"].__setitem__(1, "Dog"),
            "'dog' and 'Dog' have the same words in prompts",
        ),
        (
            lambda card: card["domains"]["P"].update(name="-sketch-"),
            "P and S could have the same folder",
        ),
    ],
)
def test_a_wrong_card_is_refused_by_its_line_and_field(tmp_path, monkeypatch, change, told) -> None:
    content = yaml.safe_load(shipped_folder("datasets").joinpath("pacs.yaml").read_text())
    change(content)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "pacs.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told):
        read_card("pacs")


def test_an_archive_is_called_as_its_url_ends() -> None:
    assert Archive(url="http://x.org/a/train.tar?dl=1").name == "train.tar"
    assert Archive(url="http://x.org/f/1/?dl=1", file="Art.tgz").name == "Art.tgz"
    assert isinstance(read_card("visda2017"), FolderCard)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/abs",
        "a\\b",
        "a\nb",
        "a\0b",
        ".hidden",
        " a",
        "a ",
        "x" * 101,
        "\udc80",
    ],
)
@pytest.mark.parametrize("field", ["name", "class", "domain"])
def test_names_that_would_lead_out_of_their_folder_are_refused(name: str, field: str) -> None:
    card = read_card("pacs")
    stated: dict[str, Any] = {
        each: getattr(card, each) for each in type(card).model_fields if each != "content"
    }
    domains = {short: domain.model_copy(update={"per_class": None}) for short, domain in card.domains.items()}
    FolderCard.model_validate(stated | {"domains": domains})
    changed: dict[str, Any] = {
        "name": {"name": name},
        "class": {"classes": [name, *card.classes[1:]]},
        "domain": {"domains": {name: domains["P"]}},
    }
    with pytest.raises(ValueError, match="becomes the name of a file or folder"):
        FolderCard.model_validate(stated | {"domains": domains, "prompt_words": {}} | changed[field])


@pytest.mark.parametrize("name", ["C++", "Alarm_Clock", "部屋", "Real World", "what?", "v1.0", "x" * 100])
def test_names_of_any_language_are_taken(name: str) -> None:
    assert TypeAdapter(PathName).validate_python(name) == name


def test_a_domain_s_short_name_contains_no_arrow() -> None:
    card = read_card("pacs")
    stated = {each: getattr(card, each) for each in type(card).model_fields if each != "content"}
    with pytest.raises(ValueError, match="contains '->', which tasks are written with"):
        FolderCard.model_validate(stated | {"domains": {"A->B": card.domains["P"]}})


def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changed: Any) -> str:
    """The refusal of the card of PACS with other fields."""
    card = yaml.safe_load((shipped_folder("datasets") / "pacs.yaml").read_text()) | {"name": "mine"} | changed
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "mine.yaml").write_text(yaml.safe_dump(card))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        read_card("mine")
    return str(caught.value)


@pytest.mark.parametrize("name", ["manifest", "Manifest"])
def test_a_domain_does_not_take_the_name_of_a_file_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    domains = {name: {"name": "photos", "images": 4}, "B": {"name": "art", "images": 4}}
    message = private(tmp_path, monkeypatch, domains=domains)
    assert "is the name of a file beside those of the domains; choose another" in message


@pytest.mark.parametrize(
    ("archives", "told"),
    [
        (["https://a/x.zip", "https://b/x.zip"], "archives: 'x.zip' is also the name of another download"),
        (["https://a/x.zip", "https://b/X.ZIP"], "archives: 'x.zip' is also the name of another download"),
        (["https://a/x.zip", "https://b/x.zip.part"], "'x.zip.part' is also the name"),
        (["https://a/.x.zip"], "this becomes the name of a file or folder"),
        (["https://a/" + "x" * 120], "this becomes the name of a file or folder"),
    ],
)
def test_downloads_do_not_overwrite_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archives: list[str], told: str
) -> None:
    sources = [{"by": "me", "archives": [{"url": url} for url in archives]}]
    assert told in private(tmp_path, monkeypatch, sources=sources)
