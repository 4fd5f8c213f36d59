"""Adapters and LoRAs from others: loaded, or refused in a sentence that names the file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.config import AdapterSpec
from pipeline.diffusion.adapters import load_adapter, make_adapter
from pipeline.diffusion.adapters.adapter import read_adapter, saved_class
from tests.readers.refusals import damaged, damaged_bytes, hostile_contents, quickly, read_or_refuse

TYPES = ["terra", "lora", "lorweb"]


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4))


def whole(folder: Path, name: str) -> bytes:
    """The bytes of an adapter's file."""
    path = folder / f"whole-{name}.safetensors"
    if not path.exists():
        make_adapter(network(), AdapterSpec.model_validate({"type": name, "rank": 2}), 0).save(path)
    return path.read_bytes()


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, with the spec of the adapter parsed, and its data."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = {key: json.loads(text) for key, text in header["__metadata__"].items()}
    return header, content[end:]


def joined(header: Any, data: bytes) -> bytes:
    if isinstance(header, dict) and isinstance(header.get("__metadata__"), dict):
        texts = {str(key): json.dumps(value) for key, value in header["__metadata__"].items()}
        header = header | {"__metadata__": texts}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def check(path: Path, content: bytes) -> Any:
    path.write_bytes(content)
    read_or_refuse(lambda: saved_class(path), path)
    read_or_refuse(lambda: read_adapter(path), path)
    return read_or_refuse(lambda: load_adapter(network(), path), path)


@hostile_contents
def test_what_is_no_adapter_is_refused(tmp_path: Path, content: bytes) -> None:
    assert check(tmp_path / "adapter.safetensors", content) is None


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**40, 2**62, 2**63, 2**64 - 1])
def test_headers_of_any_length_are_refused(tmp_path: Path, length: int) -> None:
    content = length.to_bytes(8, "little") + whole(tmp_path, "terra")[8:]
    assert check(tmp_path / "adapter.safetensors", content) is None


@given(data=st.data(), name=st.sampled_from(TYPES))
@quickly
def test_adapters_with_other_headers(tmp_path: Path, data: st.DataObject, name: str) -> None:
    header, tensors = split(whole(tmp_path, name))
    check(tmp_path / "adapter.safetensors", joined(data.draw(damaged(header)), tensors))


@given(data=st.data(), name=st.sampled_from(TYPES))
@quickly
def test_adapters_with_other_bytes(tmp_path: Path, data: st.DataObject, name: str) -> None:
    check(tmp_path / "adapter.safetensors", data.draw(damaged_bytes(whole(tmp_path, name))))


@given(
    name=st.sampled_from(TYPES),
    at=st.floats(0, 1, exclude_max=True),
    value=st.sampled_from([np.nan, np.inf, -np.inf, 1e30]),
)
@quickly
def test_adapters_with_nan(tmp_path: Path, name: str, at: float, value: float) -> None:
    header, tensors = split(whole(tmp_path, name))
    numbers = np.frombuffer(tensors, "<f4").copy()
    numbers[int(at * len(numbers))] = value
    adapter = check(tmp_path / "adapter.safetensors", joined(header, numbers.tobytes()))
    assert (adapter is not None) == np.isfinite(value)
