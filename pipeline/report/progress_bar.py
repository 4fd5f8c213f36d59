"""Progress of drawing figures, which may take minutes: a bar on a terminal, one line elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core.stage import Progress
from pipeline.core.text import one_line


@contextmanager
def drawing(*, quiet: bool, what: str = "figures") -> Iterator[Progress]:
    """Show progress on standard error, unless `quiet`; yields a function to call before each of `what`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True, quiet=quiet)
    description = TextColumn("{task.description}", markup=False)
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), description
    bar = Bar(*columns, console=console, disable=not console.is_terminal or quiet, transient=True)
    drawn = bar.add_task("", total=None)

    def progress(done: int, total: int, of: str) -> None:
        if done == 0 and not console.is_terminal:
            console.print(f"drawing {total} figures; those whose inputs have not changed are kept")
        bar.update(drawn, completed=done, total=total, description=one_line(of))

    with bar:
        yield progress
