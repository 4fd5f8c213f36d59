"""Losses against scikit-adaptation's, where it has the same: those of CDAN, and the value of MCC's.

Its MCC lets gradients through the weights of images, which the paper's authors do not; its MDD takes the
probability of every image's class in every image; its DAN has another kernel. All of our losses are held to
other forms too, in test_methods.py, test_adversarial_methods.py and test_discrepancy_methods.py.
"""

import numpy as np
import pytest

from tests.classify.method_samples import gradients, leaves, random_step, tiny_method

pytest.importorskip("skorch", reason="which skada.deep needs")
from skada.deep import CDANLoss
from skada.deep.losses import mcc_loss


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_mcc(temperature: float) -> None:
    step = random_step()
    term = tiny_method("MCC", temperature=temperature).losses(step)["confusion"]
    assert term.item() == pytest.approx(mcc_loss(step.target.logits, T=temperature).item(), abs=1e-5)


def test_cdan() -> None:
    step, method = random_step(progress=0.3), tiny_method("CDAN", hidden=6)
    guesses = []
    method.adversarial.domain_discriminator.register_forward_hook(lambda *call: guesses.append(call[2][:, 0]))
    term = method.losses(step)["adversarial"]
    labelled, target = guesses[0].split(len(step.labels))
    features = (step.labelled.features, step.target.features)
    theirs = CDANLoss()(1 - labelled, 1 - target, *features)  # there the target is 1, and halves are added
    assert term.item() == pytest.approx(theirs.item() / 2, abs=1e-5)
    for ours, other in zip(gradients(term, leaves(step)), gradients(theirs / 2, leaves(step)), strict=True):
        np.testing.assert_allclose(ours, other, atol=1e-5)
