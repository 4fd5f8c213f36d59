"""Made images as a dataset for others: what torchvision and pyarrow read back is what was made."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pyarrow import parquet
from torchvision.datasets import ImageFolder

from pipeline.cli import main
from pipeline.data.made_images import MANIFEST_COLUMNS, load_generated

NAMES = ["bike", "chair", "odd, name"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with seven made images, their adapter, and the data that it learned from."""
    folder = tmp_path / "store" / "artifacts" / "generate" / "abc"
    (folder / "images").mkdir(parents=True)
    random, rows = np.random.default_rng(0), []
    for index in range(7):
        label, file = index % 3, f"images/{index:06d}.png"
        Image.fromarray(random.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(folder / file)
        rows.append([file, label, NAMES[label], 2**61 + index, "1.0", f"a {NAMES[label]}", ""])
    pd.DataFrame(rows, columns=MANIFEST_COLUMNS).to_csv(folder / "manifest.csv", index=False)
    params = {
        "base_model": {"name": "mini", "revision": "r1"},
        "contents": "generated",
        "pair": {"source": "MN", "target": "MM"},
        "source_prompt": "a {class}",
        "target_prompt": "an image",
        "steps": 12,
        "guidance": {"weight": 3.0},
        "seed": 4,
    }
    write(folder, params, {"adapter": "def"})
    artifacts = tmp_path / "store" / "artifacts"
    write(artifacts / "finetune" / "def", {}, {"data": "ghi"})
    card = {"name": "digits", "licence": "CC BY-SA 3.0"}
    write(artifacts / "prepare" / "ghi", {"card": card}, {})
    return tmp_path / "store"


def write(folder: Path, params: dict, inputs: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"params": params, "inputs": inputs}))


def published(store: Path, to: Path, *more: str) -> int:
    return main(["publish-images", "abc", "--to", str(to), "--store", str(store), *more])


def test_folders_of_classes_are_what_torchvision_reads(store: Path, tmp_path: Path) -> None:
    assert published(store, tmp_path / "made") == 0
    made = load_generated(store / "artifacts" / "generate" / "abc")
    read = ImageFolder(str(tmp_path / "made"))
    assert read.classes == NAMES
    found = {
        Path(path).name: (np.array(image), label)
        for (path, _), (image, label) in zip(read.imgs, read, strict=True)
    }
    for name, image, label in zip(made.names, made.images, made.labels, strict=True):
        assert np.array_equal(found[Path(name).name][0], image)
        assert found[Path(name).name][1] == label
    table = pd.read_csv(tmp_path / "made" / "metadata.csv")
    assert all((tmp_path / "made" / file).is_file() for file in table["file_name"])
    assert table["seed"].tolist() == [2**61 + index for index in range(7)]
    text = (tmp_path / "made" / "README.md").read_text()
    for words in ("mini", "digits", "CC BY-SA 3.0", "a {class}", "MN to MM", "synthetic"):
        assert words in text


def test_parquet_holds_the_bytes_of_the_files(store: Path, tmp_path: Path) -> None:
    assert published(store, tmp_path / "made", "--parquet") == 0
    folder = store / "artifacts" / "generate" / "abc"
    made = load_generated(folder)
    read = parquet.read_table(tmp_path / "made" / "data" / "train-00000-of-00001.parquet")
    rows = read.to_pylist()
    assert [row["label"] for row in rows] == made.labels.tolist()
    for row, name, image in zip(rows, made.names, made.images, strict=True):
        assert row["image"]["bytes"] == (folder / name).read_bytes()
        assert np.array_equal(np.array(Image.open(io.BytesIO(row["image"]["bytes"]))), image)
    features = json.loads(read.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["label"] == {"names": NAMES, "_type": "ClassLabel"}
    assert features["image"] == {"_type": "Image"}


def test_what_cannot_be_published_is_refused_and_nothing_is_left(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").mkdir()
    assert published(store, tmp_path / "there") == 2
    assert "there exists already; name another folder" in capsys.readouterr().err
    assert main(["publish-images", "nope", "--to", str(tmp_path / "a"), "--store", str(store)]) == 2
    assert "no set of made images of that key" in capsys.readouterr().err
    finetune = store / "artifacts" / "finetune" / "def"
    assert main(["publish-images", str(finetune), "--to", str(tmp_path / "a")]) == 2
    assert "is not the artifact of made images" in capsys.readouterr().err
    (store / "artifacts" / "generate" / "abc" / "images" / "000003.png").unlink()
    assert published(store, tmp_path / "a") == 2
    assert "000003.png" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "there"]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("images/000002.png", "../../../secret.png", "secret.png is not an image of"),
        ("bike,", "../bike,", "class '../bike': this becomes the name of a file or folder"),
    ],
)
def test_a_manifest_that_leads_out_is_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, words: str
) -> None:
    (store / "secret.png").write_bytes(b"secret")
    manifest = store / "artifacts" / "generate" / "abc" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(before, after))
    assert published(store, tmp_path / "a") == 2
    assert words in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
