"""A folder of a randomly initialised CLIP of transformers, with few channels."""

from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from pipeline.diffusion.mini.build import make_tokenizer


def save_clip(folder: Path, longest: int = 16) -> Path:
    """Write a CLIP for images of 32 pixels and prompts of up to `longest` tokens into `folder`."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": longest,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = CLIPConfig(
        text_config=layers | text,
        vision_config=layers | {"image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    model = CLIPModel(config)
    with torch.no_grad():  # larger than initialised, so that classes differ
        for weight in model.parameters():
            weight.mul_(5)
        model.logit_scale.fill_(2.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"shortest_edge": 32}
    CLIPImageProcessor(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
