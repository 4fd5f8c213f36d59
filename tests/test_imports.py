"""Which module may import which: folders stand in an order, and nothing is imported in a circle.

Imports are read from the text of every module, those inside functions included. An import under TYPE_CHECKING
is for annotations alone and never runs: it keeps the order of the folders, but closes no circle.
"""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import pipeline

ORDER = (
    (
        "pipeline.cli",
        "pipeline.bench",
        "pipeline.api",
        "pipeline.__main__",
        "pipeline.doctor",
        "pipeline.validation",
    ),
    ("pipeline.execution",),
    ("pipeline.diffusion", "pipeline.classify", "pipeline.metrics", "pipeline.report"),
    ("pipeline.backbones", "pipeline.weight_names", "pipeline.data"),
    ("pipeline.planning",),
    ("pipeline.config",),
    ("pipeline.core",),
    ("pipeline",),
)
"""The folders and single modules, by level: each imports from its own level and those below."""

WITH_TORCH = {
    f"pipeline.core.{name}" for name in ("checkpoint", "device_batches", "lr_schedule", "step_losses")
} | {f"pipeline.core.processes.{name}" for name in ("launcher", "worker")}
"""The modules of `WITHOUT_TORCH` that import torch after all."""

WITHOUT_TORCH = ("core", "config", "planning", "report", "cli")
"""The folders that are imported without torch, so that commands that compute nothing answer at once."""


@dataclass
class Imports:
    """The modules that one module imports: when it runs, and for annotations alone."""

    run: set[str] = field(default_factory=set)
    checked: set[str] = field(default_factory=set)


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def import_nodes(node: ast.AST, checked: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import below `node`, with whether it stands under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, checked
        else:
            yield from import_nodes(
                child, checked or (isinstance(child, ast.stmt) and is_type_checking(child))
            )


def imported(node: ast.Import | ast.ImportFrom, modules: Iterable[str]) -> Iterator[str]:
    """The modules of the package that an import names: `from package import module` names both."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules)
    else:
        assert node.level == 0, "imports are absolute"
        names = {f"{node.module}.{alias.name}" for alias in node.names} & set(modules)
        yield from names
        if len(names) < len(node.names) and node.module in modules:
            yield node.module


def import_graph(root: Path) -> dict[str, Imports]:
    """What every module of the package at `root` imports from the package."""
    paths = {module_name(path, root): path for path in sorted(root.rglob("*.py"))}
    graph = {name: Imports() for name in paths}
    for name, path in paths.items():
        for node, checked in import_nodes(ast.parse(path.read_text(encoding="utf-8"))):
            found = graph[name].checked if checked else graph[name].run
            found.update(set(imported(node, paths)) - {name})
    return graph


def folder(module: str) -> str:
    """The entry of ORDER that a module belongs to."""
    return ".".join(module.split(".")[:2])


def level(module: str) -> int:
    """The place of a module's folder in ORDER."""
    return next(place for place, names in enumerate(ORDER) if folder(module) in names)


def circle(edges: dict[str, set[str]]) -> list[str]:
    """One circle in a graph, first and last the same; empty if there is none."""
    done: set[str] = set()

    def visit(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node) :], node]
        if node not in done:
            for following in sorted(edges.get(node, ())):
                if found := visit(following, [*way, node]):
                    return found
            done.add(node)
        return []

    return next((found for node in sorted(edges) if (found := visit(node, []))), [])


GRAPH = import_graph(Path(pipeline.__file__).parent)


def test_every_folder_has_a_place() -> None:
    assert {folder(module) for module in GRAPH} == {name for names in ORDER for name in names}


def test_no_import_goes_up() -> None:
    upward = [
        f"{module} imports {other}"
        for module, imports in GRAPH.items()
        for other in sorted(imports.run | imports.checked)
        if level(other) < level(module)
    ]
    assert upward == []


def test_no_folders_import_each_other() -> None:
    edges: dict[str, set[str]] = {}
    for module, imports in GRAPH.items():
        others = {folder(other) for other in imports.run | imports.checked}
        edges.setdefault(folder(module), set()).update(others - {folder(module)})
    assert circle(edges) == []


def test_no_modules_import_each_other() -> None:
    assert circle({module: imports.run for module, imports in GRAPH.items()}) == []


def test_the_graph_sees_imports_in_functions_and_those_for_annotations(tmp_path: Path) -> None:
    root = tmp_path / "house"
    (root / "roof").mkdir(parents=True)
    (root / "__init__.py").touch()
    (root / "roof" / "__init__.py").touch()
    (root / "roof" / "tile.py").write_text("def lay():\n    from house import wall\n")
    (root / "wall.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.roof.tile import lay\n"
        "import house.floor\n"
    )
    (root / "floor.py").write_text("import os\nfrom house.wall import *\n")
    graph = import_graph(root)
    assert graph["house.roof.tile"] == Imports(run={"house.wall"})
    assert graph["house.wall"] == Imports(run={"house.floor"}, checked={"house.roof.tile"})
    edges = {module: imports.run for module, imports in graph.items()}
    assert circle(edges) == ["house.floor", "house.wall", "house.floor"]
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_folders_that_compute_nothing_import_no_torch(name: str) -> None:
    modules = sorted(set(m for m in GRAPH if folder(m) == f"pipeline.{name}") - WITH_TORCH)
    code = (
        f"import importlib, sys\nfor name in {modules}:\n    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
