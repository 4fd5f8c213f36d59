"""Pictures with augmentations that have no mark or colour of their own, and the sheet of morphs."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import config
from pipeline.report.plots import accuracy_time, contact_sheet, per_class

NAMES = ["none", "base", "terra", "lora", "diffmorpher", "of_my_own"]


def test_every_augmentation_has_a_mark_and_a_bar_of_its_own() -> None:
    found = pd.DataFrame(
        [("ERM", name, 10.0 + i, 50.0 + i, 1.0) for i, name in enumerate(NAMES)],
        columns=["method", "augmentation", "seconds", "accuracy", "error"],
    )
    assert set(accuracy_time.draw(found, "time")) == {".pdf", ".png"}
    told = config.read_suite("digits_dg").model_dump(exclude_unset=True)
    told |= {
        "adapters": {name: told["adapter"] for name in ("of_my_own",)},
        "methods": ["ERM"],
        "augmentations": [name for name in NAMES if name != "lora"],
    }
    suite = config.Suite.model_validate(told)
    records = pd.DataFrame(
        [
            {"task": "->MM", "method": "ERM", "augmentation": name, "seed": 0, "per_class": [50.0, 60.0 + i]}
            for i, name in enumerate(suite.augmentations)
        ]
    )
    drawn = [
        per_class.draw(
            records[records["augmentation"].isin(suite.augmentations[:count])], suite, ["a", "b"], "bars"
        )[".png"]
        for count in (4, 5)
    ]
    assert drawn[0] != drawn[1]


def test_a_sheet_of_morphs_has_a_row_of_frames_for_each_method(tmp_path: Path) -> None:
    for method, shade in (("ddim", 50), ("terra", 200)):
        (tmp_path / method).mkdir()
        for i in range(3):
            Image.new("RGB", (32, 32), (shade, i, 0)).save(tmp_path / method / f"frame_{i:03d}.png")
        Image.new("RGB", (96, 32)).save(tmp_path / method / "strip.png")
    sheet = contact_sheet.draw_morphs({name: tmp_path / name for name in ("ddim", "terra")}, "morphs")
    pixels = np.asarray(Image.open(io.BytesIO(sheet[".png"])))
    for shade in (50, 200):
        for i in range(3):
            assert (pixels == (shade, i, 0)).all(axis=2).sum() == pytest.approx(64 * 64, abs=0)
