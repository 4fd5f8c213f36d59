"""What two runs were made with: the machines and versions in their run.json, and whether they differ."""

from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.report.page import run_info

MACHINE = ("system", "processor", "gpu")
"""The names of the provenance that tell of a machine; the other names tell of versions."""

IGNORED = ("commit", "cores")
"""Names that change no number by themselves: the versions of records and the keys of jobs tell of code."""

Provenance = dict[str, list[str]]


def provenance_of(records: Path) -> Provenance:
    """Return the processor, versions and so on that made a run; empty if its run.json does not tell.

    Args:
        records: The records.csv of the run.
    """
    try:
        info = run_info.read(records.parent)
    except UserError:
        return {}
    return {} if info is None else {name: sorted(values) for name, values in info.made_with.items()}


def differences(a: Provenance, b: Provenance) -> dict[str, tuple[list[str], list[str]]]:
    """Return the values in A and in B by name, where they differ; empty if either run does not tell."""
    if not a or not b:
        return {}
    names = [*MACHINE, *(name for name in {**a, **b} if name not in (*MACHINE, *IGNORED))]
    both = {name: (a.get(name, []), b.get(name, [])) for name in names}
    return {name: values for name, values in both.items() if values[0] != values[1]}


def sentence(a: Provenance, b: Provenance) -> str:
    """Say in one sentence how machines and versions of A and B differ; empty if they are alike."""
    silent = [run for run, found in (("A", a), ("B", b)) if not found]
    if silent:
        runs = " and ".join(silent)
        return f"Machines and versions are not compared, because run.json of {runs} names none."
    differing = differences(a, b)
    if not differing:
        return ""
    machine = any(name in MACHINE for name in differing)
    listed = "; ".join(
        f"{name}: A {', '.join(in_a) or 'none'}, B {', '.join(in_b) or 'none'}"
        for name, (in_a, in_b) in differing.items()
    )
    other = "on different machines" if machine else "with different versions"
    return (
        f"A and B were made {other} ({listed}), so the same seeds need not give the same numbers; "
        "differences may come from that."
    )
