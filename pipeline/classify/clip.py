"""A CLIP of transformers as a classifier by words (Radford et al. 2021, section 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.config import ZeroShotSettings, expanded, prompt
from pipeline.core.errors import UserError
from pipeline.core.tensor_files import refuse_non_finite

FIELD = "method CLIP: model"


@dataclass(frozen=True)
class Clip:
    """A frozen CLIP.

    Attributes:
        model: The CLIPModel.
        tokenizer: Its tokenizer.
        processor: Its image processor, which resizes, crops and normalises as in its training.
    """

    model: Any
    tokenizer: Any
    processor: Any

    @torch.inference_mode()
    def embed_classes(self, template: str, words: Sequence[str]) -> Tensor:
        """Return the embeddings of classes, of length 1: float32 [classes, width].

        Args:
            template: The prompt, in which {class} stands for the words of a class.
            words: The words of each class.

        Raises:
            UserError: A prompt is longer than the model takes.
        """
        prompts = [prompt(template, word) for word in words]
        most = self.model.config.text_config.max_position_embeddings
        for text, tokens in zip(prompts, self.tokenizer(prompts).input_ids, strict=True):
            if len(tokens) > most:
                raise UserError(
                    f"method CLIP: the prompt {text!r} has {len(tokens)} tokens, and the model takes {most}; "
                    "shorten hyperparameters.prompt, or the class's prompt_words in the dataset card"
                )
        tokens = self.tokenizer(prompts, padding=True, return_tensors="pt").to(self.model.device)
        hidden = self.model.text_model(tokens.input_ids, attention_mask=tokens.attention_mask)
        return normalize(self.model.text_projection(hidden.pooler_output), dim=1)

    @torch.inference_mode()
    def logits(self, images: Sequence[Image.Image], classes: Tensor) -> Tensor:
        """Return the logits of images: their scaled cosine similarities to classes, float32 [n, classes].

        Args:
            images: n RGB images of any size.
            classes: The embeddings of classes, [classes, width].
        """
        pixels = self.processor(images=list(images), return_tensors="pt")["pixel_values"]
        hidden = self.model.vision_model(pixels.to(self.model.device))
        embedded = normalize(self.model.visual_projection(hidden.pooler_output), dim=1)
        logits: Tensor = self.model.logit_scale.exp() * embedded @ classes.T
        return logits


def load_clip(settings: ZeroShotSettings) -> Clip:
    """Load the CLIP that a suite names, onto the GPU if there is one.

    Raises:
        UserError: It does not exist, is no CLIP, or lacks its tokenizer, its image processor or weights.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, CLIPModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    where = expanded(settings.model)
    at: dict[str, Any] = {"revision": settings.revision}

    def part(what: str, load: Any, **options: Any) -> Any:
        try:
            return load(where, **at, **options)
        except Exception as error:  # what a library raises for files that are absent or damaged
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{FIELD} {settings.model!r}: its {what} can't be loaded: {reason}") from error

    config = part("configuration", AutoConfig.from_pretrained)
    if config.model_type != "clip":
        raise UserError(f"{FIELD} {settings.model!r} is a {config.model_type}; expected a CLIP (CLIPModel)")
    tokenizer = part("tokenizer", AutoTokenizer.from_pretrained)
    size, vocabulary = len(tokenizer), config.text_config.vocab_size
    if not vocabulary / 2 < size <= vocabulary:  # without its files, a tokenizer of no words is made
        raise UserError(
            f"{FIELD} {settings.model!r}: its tokenizer has {size} tokens, its text encoder "
            f"{vocabulary}; put the model's own tokenizer files there"
        )
    processor = part("image processor", AutoImageProcessor.from_pretrained)
    model, report = part("weights", CLIPModel.from_pretrained, use_safetensors=True, output_loading_info=True)
    if report["missing_keys"]:
        absent = min(report["missing_keys"])
        raise UserError(f"{FIELD} {settings.model!r}: its weights lack {absent}; take a whole CLIP")
    refuse_non_finite(f"{FIELD} {settings.model!r}", model.state_dict())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Clip(model.requires_grad_(False).eval().to(device), tokenizer, processor)
