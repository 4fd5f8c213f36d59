"""The losses of the transfer-learning library (Jiang et al. 2022), from whichever of its two packages is there.

From source it is `tllib`; on PyPI it is `dalib`, its earlier name. The first that is installed is taken.
"""

import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from torch import Tensor

from pipeline.core.errors import UserError

LOSSES = {"tllib": "tllib.alignment", "dalib": "dalib.adaptation"}
"""Where each package keeps its losses."""


@cache
def package() -> str:
    """The name of the package that is installed; UserError if neither is."""
    for name in LOSSES:
        if find_spec(name) is not None:
            return name
    raise UserError(
        "the losses of this method come from the transfer-learning library: pip install 'dalib<0.3'"
    )


def version() -> str:
    """Which package the losses come from, such as `dalib 0.2`."""
    return f"{package()} {metadata.version(package())}"


def find_loss(module: str, name: str) -> Any:
    """The loss `name`, a class or a function, whose arguments are the same in both packages."""
    return getattr(_imported(f"{LOSSES[package()]}.{module}"), name)


def find_module(module: str, name: str) -> Any:
    """A network or kernel of the library, such as its domain discriminator."""
    return getattr(_imported(f"{package()}.modules.{module}"), name)


def _imported(module: str) -> ModuleType:
    """The module, without its warning that there is no solver of quadratic programs: none is needed here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(module)


def margin_disparity(margin: float) -> Callable[..., Tensor]:
    """The margin disparity as a loss to minimise, of (y_s, y_s_adv, y_t, y_t_adv).

    tllib gave it another name and turned its sign, so that there it is to be maximised.
    """
    if package() == "dalib":
        return find_loss("mdd", "MarginDisparityDiscrepancy")(margin)
    turned = find_loss("mdd", "ClassificationMarginDisparityDiscrepancy")(margin)
    return lambda *logits: -turned(*logits)
