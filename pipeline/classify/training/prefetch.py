"""Work done ahead of whoever needs it, by threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")
Product = TypeVar("Product")


def ahead(make: Callable[[Task], Product], tasks: Iterable[Task], workers: int) -> Iterator[Product]:
    """make(task) for each of `tasks`, in their order, each when it is asked for; with `workers`, before.

    So many threads make so many products in advance. Threads and not processes, as decoding, resizing and torch
    release Python's lock, and nothing has to be copied. What `make` raises is raised where its product would be.
    Closed early, it waits for what is being made and drops the rest.
    """
    if workers == 0:
        yield from map(make, tasks)
        return
    threads = ThreadPoolExecutor(workers)
    waiting: deque[Future[Product]] = deque()
    try:
        for task in tasks:
            waiting.append(threads.submit(make, task))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)
