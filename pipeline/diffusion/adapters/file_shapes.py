"""Check the shapes of the tensors in an adapter's file against the spec in its metadata."""

from pathlib import Path

from pipeline.core.errors import UserError

PartShapes = dict[str, tuple[int | None, ...]]
"""The shape of each part of a layer, by the part's name; None is a dimension that the layer decides."""

PROJECTION = "projection"
"""Name of the projection of a LoRWeB among the tensors of a file. No layer of a denoiser has this name."""


def check_shapes(path: Path, shapes: dict[str, tuple[int, ...]], parts: PartShapes) -> None:
    """Raise a UserError unless every layer in the file has all parts, with the dimensions of `parts`.

    Args:
        path: The file, for the message.
        shapes: The shapes of the tensors in the file, by their names `<layer>.<part>`.
        parts: What the spec in the file asks of every layer. Sizes of kernels are not compared.
    """
    layers = sorted({name.rpartition(".")[0] for name in shapes} - {PROJECTION})
    if not layers:
        raise UserError(f"{path} holds the spec of an adapter, but no tensors")
    for layer in layers:
        for part, expected in parts.items():
            found = shapes.get(f"{layer}.{part}")
            if found is None:
                raise UserError(f"{path} is not a whole adapter: it holds no tensor {layer}.{part}")
            if not _fits(found, expected):
                wanted = ", ".join("any" if size is None else str(size) for size in expected)
                raise UserError(
                    f"{path}: the tensor {layer}.{part} is {list(found)}, but the spec in the file needs "
                    f"[{wanted}]"
                )


def _fits(found: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    """Return whether a shape has the expected dimensions; those of a kernel may follow A's and B's."""
    has_kernel = None in expected and len(found) == 4
    if len(found) != len(expected) and not has_kernel:
        return False
    return all(want in (None, size) for size, want in zip(found, expected, strict=False))
