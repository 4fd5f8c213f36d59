"""Classes of images by a finished training whose weights were kept (`train.keep_weights: true`)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipeline.classify import registry
from pipeline.classify.evaluation.selection import predict
from pipeline.classify.factory import give_own_layers
from pipeline.classify.network import Network, build_network
from pipeline.classify.training.transforms import Inputs
from pipeline.core.errors import UserError
from pipeline.core.reproducibility import reproducible
from pipeline.core.stage import Progress
from pipeline.core.store import MANIFEST, Store
from pipeline.core.tensor_files import refuse_non_finite
from pipeline.data.image_sets import ImageSet
from pipeline.data.open_image import dataset_path
from pipeline.planning.kinds.train import TrainParams

WEIGHTS = "model.safetensors"
"""The file of an artifact with the weights of the last iterate, or with their average under SWAD."""

BATCH = 250
"""Images that are in memory at a time."""


@dataclass(frozen=True)
class Classifier:
    """A trained network, and the parameters of the training that it is from."""

    params: TrainParams
    network: Network

    def probabilities(self, images: Sequence[str | Path] | np.ndarray) -> Tensor:
        """Compute the probability of every class, as the training computed them in its evaluation.

        Args:
            images: Paths of image files, or RGB pixels as uint8 [n, height, width, 3].

        Returns:
            float32 [n, classes]; each row sums to 1.

        Raises:
            UserError: A file cannot be read as an image, or the array is not of that form.
        """
        if isinstance(images, np.ndarray) and (images.dtype != np.uint8 or images.shape[3:] != (3,)):
            raise UserError(
                f"expected pixels as uint8 [n, height, width, 3], not {images.dtype} {list(images.shape)}"
            )
        inputs = self.inputs
        parts = [torch.zeros(0, len(self.params.classes))]
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH]
            if not isinstance(batch, np.ndarray):
                batch = np.stack([inputs.read(self._as_trained(path)) for path in batch])
            names = [str(start + row) for row in range(len(batch))]
            parts.append(predict(self.network, inputs.evaluation(ImageSet(batch, None, names))))
        return torch.cat(parts)

    def _as_trained(self, path: str | Path) -> str:
        """Return the path of an image that is turned as those of the training were."""
        return dataset_path(str(path), self.params.orientation)

    def predict(self, images: Sequence[str | Path] | np.ndarray) -> pd.DataFrame:
        """Tabulate the most probable class of each image, and the probability of every class.

        Args:
            images: As `probabilities` takes them.

        Returns:
            One row for each image: its path or number as `image`, the most probable class as `predicted`, and
            the probability of each class in a column of its name.
        """
        names = range(len(images)) if isinstance(images, np.ndarray) else [str(path) for path in images]
        return self._tabulated(list(names), self.probabilities(images))

    def predict_files(self, paths: Sequence[Path], progress: Progress) -> tuple[pd.DataFrame, dict[str, str]]:
        """Tabulate the predictions for the files that can be read, with the training's number of threads.

        Args:
            paths: Image files.
            progress: Called after each batch.

        Returns:
            A table in the form of `predict`, and why each of the other files cannot be read, by its path.
        """
        inputs = self.inputs
        read: list[str] = []
        unreadable: dict[str, str] = {}
        parts = [torch.zeros(0, len(self.params.classes))]
        with reproducible(self.params.threads):
            for start in range(0, len(paths), BATCH):
                pixels = []
                for path in map(str, paths[start : start + BATCH]):
                    try:
                        pixels.append(inputs.read(self._as_trained(path)))
                        read.append(path)
                    except UserError as error:
                        unreadable[path] = str(error.__cause__ or error)
                if pixels:
                    parts.append(self.probabilities(np.stack(pixels)))
                progress(min(start + BATCH, len(paths)), len(paths), "")
        return self._tabulated(read, torch.cat(parts)), unreadable

    @property
    def inputs(self) -> Inputs:
        """How images reach the network."""
        return Inputs(self.params.image_size, self.network.mean, self.network.std, self.params.settings)

    def _tabulated(self, names: list[Any], probabilities: Tensor) -> pd.DataFrame:
        """Return the table of `predict`; a class may be called as one of its first two columns is."""
        table = pd.DataFrame(probabilities.numpy(), columns=self.params.classes)
        predicted = [self.params.classes[index] for index in probabilities.argmax(dim=1).tolist()]
        return pd.concat([pd.DataFrame({"image": names, "predicted": predicted}), table], axis=1)


def find_training(source: str | Path, store: Path) -> Path:
    """Return the artifact's folder of a training.

    Args:
        source: The folder, or the training's key, as in the column `key` of records.csv.
        store: The folder of the store in which a key is looked up.

    Raises:
        UserError: There is no such folder, and no finished training of that key.
    """
    path = Path(source)
    if len(path.parts) == 1 and not path.exists() and Store(store).has("train", str(source)):
        return Store(store).path("train", str(source))
    if path.is_dir():
        return path
    raise UserError(
        f"--from {source}: there is no such folder, and no finished training of that key in {store}; keys "
        "are in the column `key` of records.csv"
    )


def load_classifier(training: Path) -> Classifier:
    """Load the network of a finished training.

    Args:
        training: The folder of its artifact, `STORE/artifacts/train/KEY`.

    Raises:
        UserError: The folder is no training, its weights were not kept, or they do not fit.
    """
    try:
        params = TrainParams.model_validate(json.loads((training / MANIFEST).read_text())["params"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = "its parameters are not valid" if isinstance(error, ValidationError) else error
        raise UserError(f"{training} is not the artifact of a training: {reason}") from error
    path = training / WEIGHTS
    if not path.is_file():
        raise UserError(
            f"{training} holds no {WEIGHTS}: the weights were not kept; set train.keep_weights: true in "
            "the suite and run it again, which trains the classifier again under another key"
        )
    # All weights are in the file, so that pretrained ones need not be loaded first.
    settings = params.settings.model_copy(update={"pretrained": None})
    network = build_network(settings, len(params.classes), seed=0, image_size=params.image_size)
    known = params.method in registry.names()
    if known:
        give_own_layers(network, params.method, params.hyperparameters)
    try:
        weights = load_file(path)
        refuse_non_finite(path, weights)
        network.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        plugin = "" if known else f", or the layers of method {params.method}, which is a plug-in not in use"
        raise UserError(
            f"{path} does not fit backbone {params.settings.backbone}{plugin}: {reason}"
        ) from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Classifier(params, network.eval().to(device))
