"""Environment label smoothing: SDAT with a discriminator whose labels are never certain."""

from pipeline.classify.methods.sdat import SDAT
from pipeline.classify.registry import method


@method("ELS")
class ELS(SDAT):
    """Environment label smoothing (Zhang et al. 2023) on SDAT: domain labels 1 - eps and eps.

    Y. Zhang, X. Wang, J. Liang, Z. Zhang, L. Wang, R. Jin, T. Tan, "Free Lunch for Domain Adversarial
    Training: Environment Label Smoothing", ICLR 2023.

    `ascent` and loss are SDAT's, except that the discriminator's labels are 1 - eps for labelled and eps for
    target images, instead of 1 and 0. The authors sweep eps and report the best on the target's test set,
    which is an oracle.

    Attributes:
        eps: The smoothing, from 0, which is SDAT, to 0.5, which leaves the discriminator nothing to learn.
        rho: The radius of sharpness-aware steps, above 0.
        temperature: The temperature of MCC's predictions, above 0.
        trade_off: The weight of the adversarial term, at least 0.
        hidden: The width of the discriminator.
        warm_up_steps: See `warm_start`.
        both_statistics: Whether the pass at the moved weights updates BatchNorm's statistics too, as in the
            authors' code.
    """

    eps: float = 0.1
    rho: float = 0.02
    temperature: float = 2.5
    trade_off: float = 1.0
    hidden: int = 1024
    warm_up_steps: int = 0
    both_statistics: bool = False

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters, and make the discriminator."""
        self.require(0 <= self.eps <= 0.5, "eps", "from 0 to 0.5")
        super().build(features, classes)
