"""Folders of randomly initialised pipelines, and small domains to tune them on."""

from pathlib import Path

import numpy as np
import pytest
import tiny_pipelines

from pipeline.data.domains import DomainArrays, save_domain


@pytest.fixture(scope="session")
def sd15_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `stable-diffusion-v1-5/stable-diffusion-v1-5` is laid out; for 64 px (8x8 latents)."""
    folder = tmp_path_factory.mktemp("sd15")
    tiny_pipelines.sd15().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `stabilityai/stable-diffusion-xl-base-1.0` is laid out; for 16 px (8x8 latents)."""
    folder = tmp_path_factory.mktemp("sdxl")
    tiny_pipelines.sdxl().save_pretrained(folder)
    return folder


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
