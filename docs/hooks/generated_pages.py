"""Generate the pages of the site that are derived from code and from files outside docs/.

The suites reference and the fields of a dataset card come from the pydantic models;
CONTRIBUTING.md, CHANGELOG.md and the README of the reference results are included as they are.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.config import FolderCard
from pipeline.config.any_suite import SUITE_MODELS

ROOT = Path(__file__).resolve().parents[2]
INCLUDED = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "reference.md": "results/reference/README.md",
}
PICTURES = re.compile(r"\((?:\.\./)*results/(reference/[^)\s]+\.png)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and every picture of the reference results that a page shows."""
    for page, source in INCLUDED.items():
        text = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "suites_reference.md", content=suites_reference()))
    for picture in sorted(_pictures(files)):
        files.append(File.generated(config, picture, abs_src_path=str(ROOT / "results" / picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point pictures of the reference results into the site, and fill in the generated tables."""
    depth = page.file.src_uri.count("/")
    markdown = PICTURES.sub(lambda found: f"({'../' * depth}{found[1]})", markdown)
    if "{{ card_fields }}" in markdown:
        sections = (section(model) for model in nested([FolderCard]))
        markdown = markdown.replace("{{ card_fields }}", "\n\n".join(sections))
    return markdown


def _pictures(files: Files) -> set[str]:
    pages = [file for file in files if file.src_uri.endswith(".md")]
    return {name for page in pages for name in PICTURES.findall(page.content_string)}


def suites_reference() -> str:
    """Return the page that lists every field of a suite of every setting."""
    parts = [
        "# Suites reference",
        "This page is generated from the models that read suites. A suite of setting `uda` or `dg` has the "
        "fields of [Suite](#suite), one of setting `morph` those of [MorphSuite](#morphsuite). "
        "[Write a suite](suites.md) explains the choices.",
    ]
    parts += [section(model) for model in nested(list(SUITE_MODELS.values()))]
    return "\n\n".join(parts) + "\n"


def nested(roots: list[type[BaseModel]]) -> list[type[BaseModel]]:
    """Return `roots` and every model that their fields hold, each once, in the order of reading."""
    found: dict[type[BaseModel], None] = {}

    def visit(model: type[BaseModel]) -> None:
        if model not in found:
            found[model] = None
            for field in model.model_fields.values():
                for inner in _models_in(field.annotation):
                    visit(inner)

    for root in roots:
        visit(root)
    return list(found)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def section(model: type[BaseModel]) -> str:
    """Return one model as a heading, its docstring's first paragraph, and a table of its fields."""
    first = (model.__doc__ or "").strip().split("\n\n")[0]
    lines = [
        f"## {model.__name__}",
        first,
        "",
        "| field | type | default | description |",
        "|---|---|---|---|",
    ]
    for name, field in model.model_fields.items():
        cells = (
            f"`{name}`",
            type_text(field.annotation, field),
            default_text(field),
            field.description or "",
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines)


def default_text(field: FieldInfo) -> str:
    """Return a field's default as YAML would have it, or that the field is required."""
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        changed = value.model_dump(mode="json", exclude_unset=True)
        return f"`{changed}`" if changed else "its defaults"
    names = {None: "null", True: "true", False: "false", PydanticUndefined: ""}
    shown = names[value] if isinstance(value, bool) or value is None else value
    return f"`{shown}`" if shown != "" else '`""`'


def type_text(annotation: Any, field: FieldInfo | None = None) -> str:
    """Return an annotation in words: `list of number`, a link to a section, or the possible values."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(parts[0]) + _bounds(parts[1:])
    if origin in (Union, UnionType):
        return " or ".join(type_text(part) for part in parts)
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin is list:
        return f"list of {type_text(parts[0])}"
    if origin is tuple:
        return "list of " + ", ".join(type_text(part) for part in parts if part is not Ellipsis)
    if origin is not None and len(parts) == 2:
        return f"mapping of {type_text(parts[0])} to {type_text(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    names = {int: "integer", float: "number", str: "text", bool: "true or false", NoneType: "null"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation))) + _bounds(
        field.metadata if field else ()
    )


def _bounds(metadata: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = []
    for item in metadata:
        for inner in getattr(item, "metadata", None) or [item]:
            found += [
                f"{sign} {getattr(inner, name):,}"
                for name, sign in signs.items()
                if getattr(inner, name, None) is not None
            ]
    return f" ({', '.join(found)})" if found else ""
