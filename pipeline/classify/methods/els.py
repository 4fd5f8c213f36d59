"""Environment label smoothing: SDAT, with a discriminator that is never told to be certain."""

from pipeline.classify.methods.sdat import SDAT
from pipeline.classify.registry import method


@method("ELS")
class ELS(SDAT):
    """Environment label smoothing (Zhang et al. 2023) on SDAT: the discriminator's labels are 1 - eps and eps.

    ascent and loss as SDAT's, with the binary cross-entropy of the discriminator taken for 1 - eps on labelled
    images and eps on target ones, instead of 1 and 0.
    Defaults: eps 0.1 (from 0, which is SDAT, to 0.5, which tells it nothing); the others as SDAT's. The
    authors sweep eps and keep the best on the target's test set, which is an oracle.
    """

    eps: float = 0.1
    rho: float = 0.02
    temperature: float = 2.5
    trade_off: float = 1.0
    hidden: int = 1024

    def build(self, features: int, classes: int) -> None:
        self.require(0 <= self.eps <= 0.5, "eps", "from 0 to 0.5")
        super().build(features, classes)
