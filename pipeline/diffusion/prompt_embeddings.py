"""Prompt embeddings: what a denoiser is given beside latents and timesteps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Denoiser = Callable[..., Any]
"""A UNet of diffusers, or a function with its arguments and its output."""


@dataclass(frozen=True, eq=False)
class PromptEmbeddings:
    """The prompt embeddings of n samples.

    Attributes:
        prompts: [n, length, width]. Of an SDXL, those of both text encoders side by side.
        pooled: SDXL only: the second text encoder's pooled output, [n, width].
        sizes: SDXL only: original size, top left corner of the crop, and target size, [n, 6], each y before x
            (Podell et al. 2023, section 2.2).
    """

    prompts: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, rows: Tensor | Sequence[int] | slice) -> "PromptEmbeddings":
        """Return the samples `rows`, in that order."""
        return self._map(lambda tensor: tensor[rows])

    def expand(self, n: int) -> "PromptEmbeddings":
        """Repeat a single sample n times."""
        return self._map(lambda tensor: tensor.expand(n, *tensor.shape[1:]))

    def to(self, device: torch.device) -> "PromptEmbeddings":
        """Return a copy on `device`."""
        return self._map(lambda tensor: tensor.to(device))

    def without_text(self) -> "PromptEmbeddings":
        """Return a copy in which the embeddings of the text are zeros."""
        pooled = None if self.pooled is None else torch.zeros_like(self.pooled)
        return PromptEmbeddings(torch.zeros_like(self.prompts), pooled, self.sizes)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are not None, by name."""
        return {name: tensor for name, tensor in vars(self).items() if tensor is not None}

    def _map(self, change: Callable[[Tensor], Tensor]) -> "PromptEmbeddings":
        return PromptEmbeddings(**{name: change(tensor) for name, tensor in self.tensors().items()})


def concatenate(parts: Sequence[PromptEmbeddings]) -> PromptEmbeddings:
    """Return the samples of all `parts`, in order."""
    tensors = [part.tensors() for part in parts]
    return PromptEmbeddings(**{name: torch.cat([part[name] for part in tensors]) for name in tensors[0]})


def where(mask: Tensor, yes: PromptEmbeddings, no: PromptEmbeddings) -> PromptEmbeddings:
    """Return the samples of `yes` where `mask` [n] is true, and those of `no` elsewhere."""
    others = no.tensors()
    return PromptEmbeddings(
        **{
            name: torch.where(mask.reshape(-1, *[1] * (tensor.ndim - 1)), tensor, others[name])
            for name, tensor in yes.tensors().items()
        }
    )


def denoise(
    denoiser: Denoiser, latents: Tensor, timesteps: Tensor | int, embeddings: PromptEmbeddings
) -> Tensor:
    """Return the denoiser's output for noisy latents [n, c, h, w].

    It is computed in the precision of the embeddings. Half precision is returned as float32.

    Args:
        denoiser: A UNet of diffusers.
        latents: Noisy latents [n, c, h, w].
        timesteps: [n], or one number for all latents.
        embeddings: The prompt embeddings of n samples.
    """
    inputs: dict[str, object] = {"encoder_hidden_states": embeddings.prompts}
    if embeddings.pooled is not None:
        inputs["added_cond_kwargs"] = {"text_embeds": embeddings.pooled, "time_ids": embeddings.sizes}
    output = denoiser(latents.to(embeddings.prompts.dtype), timesteps, **inputs).sample
    return output.to(torch.promote_types(output.dtype, torch.float32))
