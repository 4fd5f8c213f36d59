"""Make the golden images of this folder, by Pillow and torchvision alone.

    python tests/reference/transforms/make.py

The transforms, and their order, are those of
    dg   khanrc/swad, domainbed/datasets/transforms.py: `aug` and `basic`
    uda  thuml/Transfer-Learning-Library, examples/domain_adaptation/image_classification/utils.py:
         get_train_transform and get_val_transform, `default`
but for 42 pixels instead of 224, and 48 instead of 256. What they draw at random is drawn here by numpy, and
stored.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms import functional as F

FOLDER = Path(__file__).parent
SIZE, SQUARE = 42, 48
SHAPES = {"wide": (60, 96), "tall": (90, 64), "small": (37, 40)}
"""Height and width of each picture: one is smaller than the network's images."""

DRAWS = 2
"""The times that each picture is changed."""


def pictures(rng: np.random.Generator) -> dict[str, Image.Image]:
    """Write the pictures: pieces of a photograph of many colours, at half its size."""
    photo = Image.fromarray(load_sample_images().images[1]).reduce(2)
    found = {}
    for name, (height, width) in SHAPES.items():
        left, top = rng.integers(0, [photo.width - width, photo.height - height])
        piece = photo.crop((left, top, left + width, top + height))
        piece.save(FOLDER / f"{name}.png", optimize=True)
        found[name] = piece
    return found


def box(height: int, width: int, least: float, rng: np.random.Generator) -> list[int]:
    """Draw a box of a share of the area between `least` and 1, and a ratio between 3/4 and 4/3."""
    while True:
        area = rng.uniform(least, 1) * height * width
        ratio = rng.uniform(3 / 4, 4 / 3)
        h, w = round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)
        if h <= height and w <= width:
            return [int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w]


def main() -> None:
    """Write golden.npz."""
    rng = np.random.default_rng(16)
    found = pictures(rng)
    columns: dict[str, list] = {}

    def add(**values: object) -> None:
        for name, value in values.items():
            columns.setdefault(name, []).append(np.asarray(value))

    for image in found.values():
        add(dg_evaluated=F.resize(image, [SIZE, SIZE]))
        square = image.resize((SQUARE, SQUARE))
        add(uda_evaluated=F.center_crop(square, [SIZE, SIZE]))
        for _ in range(DRAWS):
            drawn = {
                "box": box(image.height, image.width, 0.7, rng),
                "flip": bool(rng.random() < 0.5),
                "factors": rng.uniform(0.7, 1.3, 3).astype(np.float32),
                "turn": rng.uniform(-0.3, 0.3),
                "order": rng.permutation(4),
                "grey": bool(rng.random() < 0.1),
            }
            changed = F.resized_crop(image, *drawn["box"], [SIZE, SIZE])
            changed = F.hflip(changed) if drawn["flip"] else changed
            brightness, contrast, saturation = map(float, drawn["factors"])
            for change in drawn["order"]:
                changed = (
                    F.adjust_brightness(changed, brightness),
                    F.adjust_contrast(changed, contrast),
                    F.adjust_saturation(changed, saturation),
                    F.adjust_hue(changed, drawn["turn"]),
                )[change]
            changed = F.to_grayscale(changed, 3) if drawn["grey"] else changed
            add(dg_trained=changed, **{f"dg_{name}": value for name, value in drawn.items()})
            cut, flip = box(SQUARE, SQUARE, 0.08, rng), bool(rng.random() < 0.5)
            changed = F.resized_crop(square, *cut, [SIZE, SIZE])
            add(uda_trained=F.hflip(changed) if flip else changed, uda_box=cut, uda_flip=flip)
    np.savez_compressed(FOLDER / "golden.npz", **{name: np.stack(values) for name, values in columns.items()})


if __name__ == "__main__":
    main()
