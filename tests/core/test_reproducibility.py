"""Settings of torch within a job, and that they end with it."""

import pytest
import torch

from pipeline.core.reproducibility import reproducible


def settings() -> tuple[bool, bool, int]:
    deterministic = torch.are_deterministic_algorithms_enabled()
    return deterministic, torch.backends.cudnn.benchmark, torch.get_num_threads()


@pytest.mark.parametrize(
    ("gpu", "deterministic", "expected"),
    [
        (False, True, (True, False, 1)),
        (False, False, (True, False, 1)),
        (True, True, (True, False, 1)),
        (True, False, (False, True, 1)),
    ],
)
def test_algorithms_are_deterministic_but_on_a_gpu_where_nobody_asks_for_it(
    gpu: bool, deterministic: bool, expected: tuple[bool, bool, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    before = settings()
    with reproducible(1, deterministic):
        assert settings() == expected
    assert settings() == before
