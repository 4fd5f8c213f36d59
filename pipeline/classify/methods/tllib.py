"""The losses of the transfer-learning library. No other module knows that library.

Transfer-Learning-Library (Jiang, Chen, Fu, Long; GitHub, 2020) is `dalib` 0.2 on PyPI, of 2020, and `tllib`
when it is installed from source. The one that is installed is used, tllib first. It is imported when a method
that needs it is made, never before, and records name its version.

What its age needs:

* Its gradient reversal layer with a warm start calls `np.float`, which numpy 1.24 removed, and counts the
  calls. `GradientReversal` of adversarial.py takes its place in the adversarial losses.
* Importing its kernels warns that no solver of quadratic programs is installed. No loss used here needs one.
* tllib renamed the margin disparity and turned its sign.
"""

import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from pipeline.core.errors import UserError

LOSSES = {"tllib": "tllib.alignment", "dalib": "dalib.adaptation"}
"""The module of each package that holds its losses."""


@cache
def package() -> str:
    """Return the name of the installed package.

    Raises:
        UserError: Neither is installed.
    """
    for name in LOSSES:
        if find_spec(name) is not None:
            return name
    raise UserError(
        "the losses of this method come from the transfer-learning library: pip install 'dalib<0.3'"
    )


def version() -> str:
    """Return the package and its version, such as `dalib 0.2`."""
    return f"{package()} {metadata.version(package())}"


def domain_discriminator(features: int, hidden: int) -> nn.Module:
    """Make the library's discriminator of domains: [n, features] to the probability of the source [n, 1].

    Three linear layers, the first two `hidden` wide and followed by BatchNorm and ReLU; a sigmoid at the end.
    """
    discriminator: nn.Module = _module("domain_discriminator").DomainDiscriminator(features, hidden)
    return discriminator


def domain_adversarial_loss(discriminator: nn.Module, reversal: nn.Module) -> nn.Module:
    """Make DANN's loss: (features [n, d] of the source, features [n, d] of the target) to a scalar.

    The binary cross-entropy of the discriminator, which gets features through `reversal`.
    """
    loss: nn.Module = _loss("dann").DomainAdversarialLoss(discriminator)
    loss.grl = reversal
    return loss


def conditional_adversarial_loss(
    discriminator: nn.Module, reversal: nn.Module, entropy_conditioning: bool
) -> nn.Module:
    """Make CDAN's loss: (logits, features) of the source and of the target, four arguments, to a scalar.

    The discriminator gets the outer products of features and predictions, [n, features * classes], through
    `reversal`.
    """
    make = _loss("cdan").ConditionalDomainAdversarialLoss
    loss: nn.Module = make(discriminator, entropy_conditioning=entropy_conditioning)
    loss.grl = reversal
    return loss


def relative_kernel(alpha: float) -> nn.Module:
    """Make a Gaussian kernel, [n, d] to [n, n]; sigma^2 is alpha times the batch's mean squared distance."""
    kernel: nn.Module = _module("kernels").GaussianKernel(alpha=alpha)
    return kernel


def fixed_kernel(sigma: float) -> nn.Module:
    """Make a Gaussian kernel, [n, d] to [n, n], of a fixed sigma."""
    kernel: nn.Module = _module("kernels").GaussianKernel(sigma=sigma, track_running_stats=False)
    return kernel


def mean_discrepancy(kernels: list[nn.Module], linear: bool) -> nn.Module:
    """Make DAN's multi-kernel MMD^2: (features [n, d] of the source, of the target) to a scalar."""
    loss: nn.Module = _loss("dan").MultipleKernelMaximumMeanDiscrepancy(kernels, linear=linear)
    return loss


def joint_mean_discrepancy(kernels: tuple[list[nn.Module], list[nn.Module]], linear: bool) -> nn.Module:
    """Make JAN's joint MMD^2: (tensors of two layers of the source, of the target) to a scalar.

    Args:
        kernels: The kernels of each layer. Those of a layer are summed, and layers are multiplied.
        linear: Whether the estimate takes n pairs of images instead of all.
    """
    loss: nn.Module = _loss("jan").JointMultipleKernelMaximumMeanDiscrepancy(kernels, linear=linear)
    return loss


def classifier_discrepancy() -> Callable[[Tensor, Tensor], Tensor]:
    """Return MCD's discrepancy, the mean absolute difference of two tensors of probabilities [n, classes]."""
    discrepancy: Callable[[Tensor, Tensor], Tensor] = _loss("mcd").classifier_discrepancy
    return discrepancy


def margin_disparity(margin: float) -> Callable[..., Tensor]:
    """Make MDD's margin disparity as a loss to minimise, of four logits [n, classes].

    The logits are those of the main and of the adversarial head on the source, and of both on the target.
    """
    if package() == "dalib":
        disparity: Callable[..., Tensor] = _loss("mdd").MarginDisparityDiscrepancy(margin)
        return disparity
    negated = _loss("mdd").ClassificationMarginDisparityDiscrepancy(margin)
    return lambda *logits: -negated(*logits)


def _loss(module: str) -> Any:
    """The module of the library's losses that is called `module` in both packages."""
    return _imported(f"{LOSSES[package()]}.{module}")


def _module(module: str) -> Any:
    """The module of the library's networks and kernels that is called `module` in both packages."""
    return _imported(f"{package()}.modules.{module}")


def _imported(module: str) -> ModuleType:
    """The module, imported without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(module)
