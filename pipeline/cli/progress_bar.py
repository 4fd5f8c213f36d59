"""What is shown while pictures are drawn, which may take minutes: a bar, or a line where there is no terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core.stage import Progress


@contextmanager
def drawing(*, quiet: bool) -> Iterator[Progress]:
    """What to tell of every picture before it is drawn. Shown on standard error, unless `quiet`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True, quiet=quiet)
    columns = TextColumn("pictures"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}")
    bar = Bar(*columns, console=console, disable=not console.is_terminal or quiet, transient=True)
    whole = bar.add_task("", total=None)

    def progress(done: int, total: int, what: str) -> None:
        if done == 0 and not console.is_terminal:
            console.print(f"drawing {total} pictures; those that are there as they would be drawn are kept")
        bar.update(whole, completed=done, total=total, description=what)

    with bar:
        yield progress
