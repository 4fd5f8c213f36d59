"""Check a suite, a dataset card or a plug-in without running it: the command `validate`."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline import config
from pipeline.classify import plugins, registry
from pipeline.config import FolderCard
from pipeline.core.errors import FaultyFileError, UserError
from pipeline.core.paths import yaml_files
from pipeline.execution.suite_plan import faults_of, plan_of

Kind = Literal["suite", "dataset card", "plug-in"]

CARD_KEYS = {"domains", "classes", "image_size", "prompt_words", "licence", "citation", "builder", "sources"}
"""Keys that only a dataset card has."""

SUITE_KEYS = {"extends", "setting", "dataset", "methods", "tasks", "augmentations", "base_model", "seeds"}
"""Keys that only a suite has."""


@dataclass(frozen=True)
class Verdict:
    """What a file is, and what is wrong with it.

    Attributes:
        file: The file, as it was named.
        kind: What the file is; None where that cannot be told.
        summary: What a file without faults holds, in a few words.
        counts: Of a suite without faults, the number of jobs of each kind, and of `tasks`.
        faults: One sentence for each fault; none if the file is right.
    """

    file: str
    kind: Kind | None = None
    summary: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


def validate(file: str) -> Verdict:
    """Check a file.

    Args:
        file: The path of a YAML or Python file, or the name of a suite.
    """
    kind: Kind | None = None
    try:
        path = _find(file)
        kind = _kind_of(path)
        check: dict[Kind, Callable[[Path], Verdict]] = {
            "suite": _suite,
            "dataset card": _card,
            "plug-in": _plugin,
        }
        return check[kind](path)
    except FaultyFileError as error:
        return Verdict(file, kind, faults=error.faults)
    except UserError as error:
        return Verdict(file, kind, faults=(str(error),))


def _find(file: str) -> Path:
    """Find the file that the user named."""
    path = Path(file)
    if not path.exists():
        suites = yaml_files("benchmarks")
        if file in suites:
            return suites[file]
        raise UserError(f"there is no file {file}, and no suite of this name; {config.nearest(file, suites)}")
    if not path.is_file():
        raise UserError(f"{file} is not a file; name a YAML file or a Python file")
    return path


def _kind_of(path: Path) -> Kind:
    """Tell a suite, a dataset card and a plug-in apart, by the suffix and the keys."""
    if path.suffix == ".py":
        return "plug-in"
    if path.suffix not in (".yaml", ".yml"):
        raise UserError(f"{path}: expected a suite or a dataset card (.yaml), or a plug-in (.py)")
    keys = config.keys_of(path)
    found: dict[Kind, int] = {"suite": len(keys & SUITE_KEYS), "dataset card": len(keys & CARD_KEYS)}
    kind = max(found, key=lambda name: found[name])
    if not found[kind]:
        raise UserError(
            f"{path} is neither a suite nor a dataset card: a suite has keys such as `dataset`, `methods` or "
            "`extends`; a card has `domains` and `classes`"
        )
    return kind


def _suite(path: Path) -> Verdict:
    """Check everything that `plan` checks."""
    suite = config.read_suite(path)
    faults = faults_of(suite)
    if faults:
        return Verdict(str(path), "suite", faults=tuple(f"{path}: {fault}" for fault in faults))
    plan = plan_of(suite)
    jobs = Counter(job.kind for job in plan.jobs)
    tasks = len(plan.compared)
    numbers = ", ".join(f"{number} {kind}" for kind, number in jobs.items())
    size = f"{tasks} {plan.compared_unit}{'s' * (tasks != 1)}, {len(plan.jobs)} jobs ({numbers})"
    return Verdict(str(path), "suite", f"setting {suite.setting}, {size}", {"tasks": tasks, **jobs})


def _card(path: Path) -> Verdict:
    """Check a dataset card."""
    card = config.read_card_file(path)
    images = sum(domain.images for domain in card.domains.values()) if isinstance(card, FolderCard) else None
    counted = "" if images is None else f", {images:,} images"
    summary = f"{card.name}, {len(card.domains)} domains, {len(card.classes)} classes{counted}"
    return Verdict(str(path), "dataset card", summary)


def _plugin(path: Path) -> Verdict:
    """Check that a plug-in declares methods, without running it."""
    registry.use([plugins.given(path)])
    declared = [name for name, plugin in registry.plugged_in().items() if plugin.path == path.resolve()]
    return Verdict(str(path), "plug-in", f"declares {', '.join(declared)}")
