"""Randomly initialised pipelines with the classes of Stable Diffusion 1.5 and XL, and few channels."""

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, PreTrainedTokenizerBase

from pipeline.diffusion.mini.build import make_tokenizer, make_vae

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
"""The noise schedule of both."""


def _text_config(tokenizer: PreTrainedTokenizerBase, layers: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        projection_dim=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def sd15() -> StableDiffusionPipeline:
    """Return a Stable Diffusion 1.5 with latents of an eighth of an image's side; it works from 64 px."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[8, 8, 8, 8],
        norm_num_groups=4,
        layers_per_block=1,
        latent_channels=4,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
    )
    return StableDiffusionPipeline(
        vae,
        CLIPTextModel(_text_config(tokenizer, 1)),
        tokenizer,
        unet,
        PNDMScheduler(skip_prk_steps=True, **BETAS),
        None,
        None,
        requires_safety_checker=False,
    )


def sdxl(prediction: str = "epsilon") -> StableDiffusionXLPipeline:
    """Return an SDXL with latents of half an image's side, so that it works from 16 px."""
    torch.manual_seed(0)
    tokenizer, vae = make_tokenizer(), make_vae()
    vae.register_to_config(scaling_factor=0.13025)
    text = _text_config(tokenizer, 2)
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
        cross_attention_dim=32,
    )
    return StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer,
        tokenizer_2=make_tokenizer(),
        unet=unet,
        add_watermarker=False,
        scheduler=EulerDiscreteScheduler(prediction_type=prediction, **BETAS),
    )
