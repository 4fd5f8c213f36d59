"""The domain flow: how predictions change with t. tests/diffusion/test_dg_stages.py runs its stage."""

import torch

from pipeline.diffusion.generate import domain_flow


def test_guidance_comes_in_with_t() -> None:
    """Halfway, the prediction is the mean of both; at 0 and 1 only one of the two is computed."""
    x = torch.randn(2, 4, 8, 8)

    def never(latents: torch.Tensor, timestep: int) -> torch.Tensor:
        raise AssertionError("is not wanted")

    assert torch.allclose(
        domain_flow.interpolate_predictions(lambda x, t: x, lambda x, t: 3 * x, 0.5)(x, 7), 2 * x
    )
    assert torch.equal(domain_flow.interpolate_predictions(lambda x, t: x, never, 0.0)(x, 7), x)
    assert torch.equal(domain_flow.interpolate_predictions(never, lambda x, t: x, 1.0)(x, 7), x)
