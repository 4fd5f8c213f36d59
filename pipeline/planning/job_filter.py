"""`--only task=Ar->Cl,method=MCC`: a part of a plan."""

from dataclasses import replace

from pipeline.config import nearest
from pipeline.core.errors import UserError
from pipeline.planning.graph import Cell, Plan, ordered

FIELDS = ("task", "method", "augmentation", "seed")


def pick(plan: Plan, only: str) -> Plan:
    """The trainings of `plan` that `only` names, and what they stand on.

    only: FIELD=VALUE between commas; of one field, each value given is taken. Case does not matter. UserError for a
    field or a value that the suite has not.
    """
    wanted: dict[str, set[str]] = {}
    for part in only.split(","):
        name, equals, value = (text.strip() for text in part.partition("="))
        if name not in FIELDS or not equals:
            raise UserError(
                f"--only {part.strip()!r}: expected FIELD=VALUE, such as seed=0; for FIELD {nearest(name, FIELDS)}"
            )
        wanted.setdefault(name, set()).add(_known(plan, name, value))
    cells = [cell for cell in plan.cells if all(_value(cell, name) in wanted[name] for name in wanted)]
    jobs = ordered(cell.job for cell in cells)
    first = [job for job in plan.jobs if job in set(jobs)]  # in the order of the whole plan
    tasks = {task: made for task, made in plan.tasks.items() if task in {cell.task for cell in cells}}
    return replace(plan, cells=cells, jobs=first, tasks=tasks)


def _value(cell: Cell, name: str) -> str:
    """What a training has as one of FIELDS."""
    return str(getattr(cell, name))


def _known(plan: Plan, name: str, value: str) -> str:
    """`value` as the suite writes it."""
    there = dict.fromkeys(_value(cell, name) for cell in plan.cells)
    for one in there:
        if one.lower() == value.lower():
            return one
    raise UserError(f"--only {name}={value}: {plan.suite.name} has no such {name}; {nearest(value, there)}")
