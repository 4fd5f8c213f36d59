"""`--only task=Ar->Cl,method=MCC`: take a part of a plan."""

from pipeline.config import nearest
from pipeline.core.errors import UserError
from pipeline.planning.graph import AnyPlan


def pick(plan: AnyPlan, only: str) -> AnyPlan:
    """Return the part of `plan` that `only` names.

    Args:
        plan: The plan.
        only: FIELD=VALUE, separated by commas; a field may be given several values. Case does not matter.

    Raises:
        UserError: A field or a value does not exist in the suite.
    """
    fields = plan.cells[0].FIELDS
    wanted: dict[str, set[str]] = {}
    for part in only.split(","):
        name, equals, value = (text.strip() for text in part.partition("="))
        if name not in fields or not equals:
            raise UserError(
                f"--only {part.strip()!r}: expected FIELD=VALUE, such as {_example(plan)}; for FIELD "
                f"{nearest(name, fields)}"
            )
        wanted.setdefault(name, set()).add(_known(plan, name, value))
    return plan.part(
        [cell for cell in plan.cells if all(cell.field(name) in values for name, values in wanted.items())]
    )


def _example(plan: AnyPlan) -> str:
    """A selection that is possible."""
    cell = plan.cells[0]
    return f"{cell.FIELDS[-1]}={cell.field(cell.FIELDS[-1])}"


def _known(plan: AnyPlan, name: str, value: str) -> str:
    """`value` as the suite writes it."""
    values = dict.fromkeys(cell.field(name) for cell in plan.cells)
    for known in values:
        if known.lower() == value.lower():
            return str(known)
    raise UserError(f"--only {name}={value}: {plan.suite.name} has no such {name}; {nearest(value, values)}")
