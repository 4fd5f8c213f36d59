"""`--only task=Ar->Cl,method=MCC`: a part of a plan."""

from dataclasses import replace

from pipeline.config import nearest
from pipeline.core.errors import UserError
from pipeline.planning.graph import Cell, Plan, ordered

FIELDS = ("task", "method", "augmentation", "seed")


def pick(plan: Plan, only: str) -> Plan:
    """Return the part of `plan` that `only` selects: the cells, and the jobs that they depend on.

    Args:
        plan: The plan of a suite.
        only: FIELD=VALUE, several of which are separated by commas. Values of one field are alternatives.
            Case does not matter.

    Raises:
        UserError: `only` names a field or a value that the suite does not have.
    """
    wanted: dict[str, set[str]] = {}
    for part in only.split(","):
        name, equals, value = (text.strip() for text in part.partition("="))
        if name not in FIELDS or not equals:
            raise UserError(
                f"--only {part.strip()!r}: expected FIELD=VALUE, such as seed=0; for FIELD "
                f"{nearest(name, FIELDS)}"
            )
        wanted.setdefault(name, set()).add(_as_in_suite(plan, name, value))
    cells = [cell for cell in plan.cells if all(_value(cell, name) in wanted[name] for name in wanted)]
    selected = set(ordered(cell.job for cell in cells))
    jobs = [job for job in plan.jobs if job in selected]
    tasks = {name: task for name, task in plan.tasks.items() if name in {cell.task for cell in cells}}
    return replace(plan, cells=cells, jobs=jobs, tasks=tasks)


def _value(cell: Cell, name: str) -> str:
    """Return the value that a cell has in one of FIELDS."""
    return str(getattr(cell, name))


def _as_in_suite(plan: Plan, name: str, value: str) -> str:
    """Return `value` in the case in which the suite has it."""
    values = dict.fromkeys(_value(cell, name) for cell in plan.cells)
    for known in values:
        if known.lower() == value.lower():
            return known
    raise UserError(f"--only {name}={value}: {plan.suite.name} has no such {name}; {nearest(value, values)}")
