"""The tasks of a suite: which domains are sources, and which one is the target."""

from itertools import permutations

from pipeline.config import DatasetCard, Setting, Suite, nearest
from pipeline.core.errors import UserError


def parse_task(task: str, card: DatasetCard, setting: Setting = "uda") -> tuple[tuple[str, ...], str]:
    """Return the source domains and the target domain of a task.

    Args:
        task: `MN->MM` under uda; `->MM` under dg, where all other domains of the card are sources.
        card: The card of the dataset.
        setting: The setting of the suite.

    Raises:
        UserError: The task has another form, or a domain does not exist.
    """
    source, arrow, target = (part.strip() for part in task.partition("->"))
    if not arrow or not target or bool(source) == (setting == "dg"):
        first, second = list(card.domains)[:2]
        form = f"->TARGET, the domain held out, such as ->{second}"
        if setting == "uda":
            form = f"SOURCE->TARGET, such as {first}->{second}"
        raise UserError(f"task {task!r}: under setting {setting}, expected {form}")
    for domain in (source, target) if source else (target,):
        if domain not in card.domains:
            raise UserError(
                f"task {task!r}: {card.name} has no domain {domain!r}; {nearest(domain, card.domains)}"
            )
    if source == target:
        raise UserError(f"task {task!r}: source and target are the same domain")
    return (source,) if source else _all_but(target, card), target


def _all_but(target: str, card: DatasetCard) -> tuple[str, ...]:
    """Return the source domains of the task that holds `target` out."""
    return tuple(domain for domain in card.domains if domain != target)


def suite_tasks(suite: Suite, card: DatasetCard) -> list[tuple[tuple[str, ...], str]]:
    """Return the source domains and the target domain of every task that the suite compares.

    Raises:
        UserError: A task is not possible with this card.
    """
    if suite.setting == "dg" and len(card.domains) < 3:
        raise UserError(
            f"setting dg needs at least three domains, one of them held out; {card.name} has "
            f"{len(card.domains)}"
        )
    if suite.tasks != "all":
        return [parse_task(task, card, suite.setting) for task in suite.tasks]
    if suite.setting == "dg":
        return [(_all_but(target, card), target) for target in card.domains]
    return [((source,), target) for source, target in permutations(card.domains, 2)]
