"""Small domains to tune on."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.data.image_sets import DomainArrays, save_domain


@pytest.fixture(scope="session")
def two_domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepare artifact of domains S and T, three classes, 15 training images each, 32 px."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for domain in "ST":
        images = rng.integers(0, 256, (18, 32, 32, 3), dtype=np.uint8)
        split = np.array([0, 0, 0, 0, 0, 1] * 3, dtype=np.uint8)
        names = np.array([f"{domain}{i}" for i in range(18)])
        save_domain(folder, domain, DomainArrays(images, np.arange(18) % 3, split, names))
    return folder
