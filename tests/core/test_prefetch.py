"""Prefetching: order, errors, and an early end."""

import pytest

from pipeline.core.prefetch import prefetch


def test_prefetching_keeps_order_and_errors_and_stops_when_closed() -> None:
    for workers in (0, 1, 3):
        assert list(prefetch(lambda number: number**2, range(10), workers)) == [n**2 for n in range(10)]
        failing = prefetch(lambda number: 1 // (3 - number), range(10), workers)
        assert [next(failing) for _ in range(3)] == [0, 0, 1]
        with pytest.raises(ZeroDivisionError):
            next(failing)
        begun: list[int] = []
        numbers = prefetch(begun.append, range(1000), workers)
        next(numbers)
        numbers.close()
        assert len(begun) <= 1 + 2 * workers
