"""Prefetching by threads: the next batches are prepared while the current one is used."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")
Product = TypeVar("Product")


def prefetch(
    make: Callable[[Task], Product], tasks: Iterable[Task], workers: int
) -> Generator[Product, None, None]:
    """Yield `make(task)` for each of `tasks`, in order, prefetched by `workers` threads.

    Threads, not processes: decoding, resizing and torch release Python's lock, and nothing has to be copied.
    An exception of `make` is raised where its product would be yielded. Closing the generator early waits for
    the products under way and drops them.

    Args:
        make: Called in any of the threads.
        tasks: The arguments of `make`.
        workers: The number of threads, and of products that are prepared in advance. 0 makes each product
            when it is asked for.
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
