"""Made images as a dataset for others: folders of classes, or Parquet as the Hugging Face hub takes it."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.config.names import check_path_name
from pipeline.core.errors import UserError
from pipeline.core.json_files import read_object
from pipeline.core.new_folder import new_folder
from pipeline.core.store import MANIFEST, Store, write_atomic
from pipeline.data.made_images import read_manifest

ROWS = 1000
"""The images in one group of rows of the Parquet file."""

REMEDY = "delete the artifact, and the next run makes it again"
"""What helps where a manifest is damaged."""

KINDS = ("generate", "interpolate")
"""The kinds of jobs that make images of classes."""


@dataclass(frozen=True)
class MadeSet:
    """A set of made images.

    Attributes:
        folder: Its artifact.
        params: The parameters of the job that made it.
        table: Its manifest.csv, see `read_manifest`.
        card: The card of the dataset that its adapter learned from; None without an adapter, or if the store
            does not hold it.
    """

    folder: Path
    params: dict[str, Any]
    table: pd.DataFrame
    card: dict[str, Any] | None

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of their labels."""
        by_label = dict(zip(self.table["label"], self.table["class"], strict=True))
        return [by_label.get(label, str(label)) for label in range(max(by_label) + 1)]


def find_made_set(source: str | Path, store: Path) -> MadeSet:
    """Return a set of made images by the key of its job or the folder of its artifact.

    Raises:
        UserError: There is no such set, or it is damaged.
    """
    path = Path(source)
    if len(path.parts) == 1 and not path.exists():
        kinds = [kind for kind in KINDS if Store(store).has(kind, str(source))]
        path = Store(store).path(kinds[0], str(source)) if kinds else path
    if not path.is_dir():
        raise UserError(
            f"{source}: there is no such folder, and no set of made images of that key in {store}; "
            "`plan --json` lists keys"
        )
    manifest = read_object(path / MANIFEST, REMEDY)
    params = manifest.get("params")
    if path.parent.name not in KINDS or not isinstance(params, dict):
        raise UserError(f"{path} is not the artifact of made images, STORE/artifacts/generate/KEY")
    table = read_manifest(path)
    _check_table(path, table)
    return MadeSet(path, params, table, _card(path, manifest))


def _check_table(artifact: Path, table: pd.DataFrame) -> None:
    """Check that every image is there, inside the artifact, and that classes can be names of folders.

    Raises:
        UserError: Names the first that is not.
    """
    inside = (artifact / "images").resolve()
    for file in table["file"]:
        if not (artifact / file).is_file() or (artifact / file).resolve().parent != inside:
            raise UserError(f"{artifact / file} is not an image of {artifact}; {REMEDY}")
    for name in table["class"].unique():
        try:
            check_path_name(name)
        except ValueError as error:
            raise UserError(f"{artifact}/manifest.csv, class {name!r}: {error}") from error


def _card(artifact: Path, manifest: dict[str, Any]) -> dict[str, Any] | None:
    """The card of the dataset that an artifact comes from, found from input to input in its store."""
    inputs: dict[str, Any] = manifest.get("inputs", {})
    artifacts = artifact.parent.parent
    for role, kind in (("data", "prepare"), ("adapter", "finetune")):
        found = artifacts / kind / str(inputs.get(role)) / MANIFEST
        if role in inputs and found.is_file():
            of_input = read_object(found, REMEDY)
            if kind == "prepare":
                card = of_input.get("params", {}).get("card")
                return card if isinstance(card, dict) else None
            return _card(found.parent, of_input)
    return None


def publish(made: MadeSet, folder: Path, parquet: bool) -> int:
    """Write the images with their labels, manifest and description into a new folder.

    Args:
        made: The set.
        folder: The folder to make. It gets its name when everything is in it.
        parquet: Whether to write Parquet, with the bytes of the files, and not folders of classes.

    Returns:
        The number of images.

    Raises:
        UserError: The folder exists.
    """
    with new_folder(folder) as new:
        (_write_parquet if parquet else _write_folders)(made, new)
        write_atomic(new / "README.md", description(made))
    return len(made.table)


def _write_folders(made: MadeSet, folder: Path) -> None:
    """Write CLASS/FILE, which torchvision's ImageFolder reads, and metadata.csv."""
    classes, files = made.table["class"].tolist(), made.table["file"].tolist()
    places = [f"{name}/{Path(file).name}" for name, file in zip(classes, files, strict=True)]
    for place, file in zip(places, files, strict=True):
        (folder / place).parent.mkdir(exist_ok=True)
        shutil.copyfile(made.folder / file, folder / place)
    table = made.table.drop(columns="file")
    table.insert(0, "file_name", places)
    write_atomic(folder / "metadata.csv", table.to_csv(index=False))


def _write_parquet(made: MadeSet, folder: Path) -> None:
    """Write data/train-00000-of-00001.parquet, in the form of the library `datasets`."""
    import pyarrow as pa
    from pyarrow import parquet

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rest = [str(name) for name in made.table if name not in ("file", "label")]
    fields = [("image", image), ("label", pa.int64()), *((name, pa.string()) for name in rest)]
    features: dict[str, Any] = {name: {"dtype": "string", "_type": "Value"} for name in rest}
    features |= {"image": {"_type": "Image"}, "label": {"names": made.classes, "_type": "ClassLabel"}}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pa.schema(fields, metadata=about)
    (folder / "data").mkdir()
    with parquet.ParquetWriter(folder / "data" / "train-00000-of-00001.parquet", schema) as writer:
        for rows in _groups(made.table):
            columns: dict[str, Any] = {name: rows[name].astype(str).tolist() for name in rest}
            columns["label"] = rows["label"].tolist()
            columns["image"] = [
                {"bytes": (made.folder / file).read_bytes(), "path": Path(file).name} for file in rows["file"]
            ]
            writer.write_table(pa.table(columns, schema=schema))


def _groups(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for start in range(0, len(table), ROWS):
        yield table.iloc[start : start + ROWS]


def description(made: MadeSet) -> str:
    """Return the README of a published set: what made the images, from what, and under which licences."""
    params, card = made.params, made.card
    base = params.get("base_model", {})
    front = {"license": "other", "task_categories": ["image-classification"], "tags": ["synthetic"]}
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False).rstrip(),
        "---",
        "",
        f"# {len(made.table):,} made images of {len(made.classes)} classes",
        "",
        "Made by terrabench for domain adaptation. They are synthetic: the class is the one that an image",
        "was made for, and may not be the one that it shows.",
        "",
        f"- Base model: `{base.get('name')}`, revision `{base.get('revision')}`. Its licence holds for them.",
        f"- Set: `{params.get('contents', 'interpolated')}`; domains: {_domains(params)}.",
        f"- Prompts: `{params.get('source_prompt')}` and `{params.get('target_prompt')}`. The table has the",
        "  prompt of each image, its seed and its t.",
        f"- {params.get('steps')} steps of DDIM, guidance {json.dumps(params.get('guidance'))}, seed",
        f"  {params.get('seed')}.",
    ]
    if card is not None:
        licence = card.get("licence") or "none stated"
        lines.append(f"- Learned from the dataset {card.get('name')}. Its licence: {licence}")
    else:
        lines.append("- No dataset was learned from, or the store of these images does not hold it.")
    return "\n".join(lines) + "\n"


def _domains(params: dict[str, Any]) -> str:
    """The domains that the images go from and to, for the description."""
    if pair := params.get("pair"):
        return f"{pair.get('source')} to {pair.get('target')}"
    if domains := params.get("domains"):
        return f"between {', '.join(domains.get('sources', []))}"
    return "none, for the base model alone made them"
