"""A method's look at all images of a phase, between two steps."""

import torch
from torch import Tensor

from pipeline.classify.evaluation.selection import compute_over
from pipeline.classify.method import Look, Method, Outputs
from pipeline.classify.network import Network
from pipeline.classify.training.batches import LabelledBatches, Pool
from pipeline.classify.training.dg_batches import DomainBatches
from pipeline.classify.training.segments import Segment
from pipeline.core.errors import UserError


def make_look(
    method: Method,
    network: Network,
    segment: Segment,
    batches: LabelledBatches | DomainBatches,
    target: Pool | None,
) -> Look:
    """Return the look of `method` before `segment`. Outputs are computed when they are asked for."""
    phase = segment.phase

    def of_target() -> Outputs:
        if target is None or not phase.uses_target:
            raise UserError(f"method {method.name}: phase {phase.name!r} is without target images to look at")
        return outputs_of(network, target)

    def of_labelled() -> tuple[Outputs, Tensor]:
        if not phase.uses_labelled:
            raise UserError(
                f"method {method.name}: phase {phase.name!r} is without labelled images to look at"
            )
        parts = [outputs_of(network, pool) for pool in batches.pools]
        labels = [pool.labels for pool in batches.pools if pool.labels is not None]
        return (
            Outputs(torch.cat([part.features for part in parts]), torch.cat([part.logits for part in parts])),
            torch.cat(labels).to(network.device),
        )

    return Look(phase.name, segment.number, network, of_target, of_labelled)


def outputs_of(network: Network, pool: Pool) -> Outputs:
    """Return the outputs for all images of `pool`, float32 [N, …] each, on the device of the network."""
    both = compute_over(network, pool, lambda images: torch.cat(network(images), dim=1))
    features, logits = both.to(network.device).split([network.feature_count, network.classes], dim=1)
    return Outputs(features, logits)
