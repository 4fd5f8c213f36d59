"""What a denoiser is told beside latents and timesteps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class PromptEmbeddings:
    """The conditions of n samples.

    prompts: [n, length, width], of an SDXL those of both text encoders, side by side. Of an SDXL alone: pooled
    [n, width of the second encoder's], and sizes [n, 6], the original size, the top left corner of the crop, and the
    size to make, each y before x (Podell et al. 2023, section 2.2).
    """

    prompts: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, rows: Tensor | Sequence[int] | slice) -> "PromptEmbeddings":
        """Those of the samples `rows`, in that order."""
        return self._each(lambda tensor: tensor[rows])

    def expand(self, n: int) -> "PromptEmbeddings":
        """One sample's, for each of n."""
        return self._each(lambda tensor: tensor.expand(n, *tensor.shape[1:]))

    def to(self, device: torch.device) -> "PromptEmbeddings":
        """On another device."""
        return self._each(lambda tensor: tensor.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """What there is, by name."""
        return {name: tensor for name, tensor in vars(self).items() if tensor is not None}

    def _each(self, change: Callable[[Tensor], Tensor]) -> "PromptEmbeddings":
        return PromptEmbeddings(**{name: change(tensor) for name, tensor in self.tensors().items()})


def concatenate(parts: Sequence[PromptEmbeddings]) -> PromptEmbeddings:
    """The samples of all `parts`, in their order."""
    held = [part.tensors() for part in parts]
    return PromptEmbeddings(**{name: torch.cat([tensors[name] for tensors in held]) for name in held[0]})


def where(mask: Tensor, yes: PromptEmbeddings, no: PromptEmbeddings) -> PromptEmbeddings:
    """Sample by sample: that of `yes` where `mask` [n] is true, that of `no` elsewhere."""
    others = no.tensors()
    return PromptEmbeddings(
        **{
            name: torch.where(mask.reshape(-1, *[1] * (tensor.ndim - 1)), tensor, others[name])
            for name, tensor in yes.tensors().items()
        }
    )


def denoise(
    denoiser: nn.Module, latents: Tensor, timesteps: Tensor | int, conditions: PromptEmbeddings
) -> Tensor:
    """What `denoiser` says of noisy latents [n, c, h, w], computed in the precision of the prompts.

    Half precision is returned as float32. timesteps: [n], or one for all.
    """
    told: dict[str, object] = {"encoder_hidden_states": conditions.prompts}
    if conditions.pooled is not None:
        told["added_cond_kwargs"] = {"text_embeds": conditions.pooled, "time_ids": conditions.sizes}
    output = denoiser(latents.to(conditions.prompts.dtype), timesteps, **told).sample
    return output.to(torch.promote_types(output.dtype, torch.float32))
