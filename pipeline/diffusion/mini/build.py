"""The parts of the ``mini`` model, freshly initialised, and the pipeline that joins them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pipeline.diffusion.mini.vae_init import start_linear

IMAGE_SIZE = 32
LATENT_SIZE = (
    16  # the autoencoder halves each side; a larger factor would lose the strokes of such small images
)
LATENT_CHANNELS = 4
TEXT_WIDTH = 64
TEXT_LENGTH = 8  # tokens, including the start and end marks

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = (
    *DIGITS,
    "an",
    "image",
    "letter",
    "digit",
    "number",
    "photo",
    "of",
)  # "a" is a token as every letter is


def make_tokenizer() -> CLIPTokenizer:
    """Return a byte-pair tokenizer in which each of WORDS, each letter and each digit is one token.

    All 256 bytes are in the vocabulary, so that every prompt can be encoded, though in more tokens.
    """
    alphabet = list(_byte_alphabet())
    vocabulary = alphabet + [f"{c}</w>" for c in alphabet]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        left = pieces[0]
        for right in pieces[1:]:
            if (left, right) not in merges:
                merges.append((left, right))
                vocabulary.append(left + right)
            left += right
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    # From files, because the arguments of the constructor differ between releases.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}))
        Path(folder, "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
        settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": TEXT_LENGTH}
        Path(folder, "tokenizer_config.json").write_text(json.dumps(settings))
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    for word in WORDS:
        if len(tokenizer(word).input_ids) != 3:
            raise AssertionError(f"the merges of other words split {word!r}: {tokenizer.tokenize(word)}")
    return tokenizer


def _byte_alphabet() -> str:
    """Return the 256 printable characters that stand for bytes, in the order of CLIP's vocabulary."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    return "".join(map(chr, printable)) + "".join(chr(256 + i) for i in range(256 - len(printable)))


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return a text encoder of two layers, TEXT_WIDTH wide."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TEXT_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_vae() -> AutoencoderKL:
    """Return the autoencoder: images [n, 3, 32, 32] in -1..1 to latents [n, 4, 16, 16] and back."""
    vae = AutoencoderKL(
        sample_size=IMAGE_SIZE,
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        layers_per_block=1,
        norm_num_groups=1,  # see vae_init.py
        mid_block_add_attention=False,  # strokes are local, and attention would take half of the time
    )
    start_linear(vae)
    return vae


def make_unet() -> UNet2DConditionModel:
    """Return the denoiser, about 1.7 million parameters. Text enters at 8×8 and 4×4."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
        # The prompt is also added to the embedding of the timestep: by cross-attention alone, a network this
        # small takes thousands of steps to learn to follow it.
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


def make_scheduler() -> DDIMScheduler:
    """Return a scheduler with velocity prediction on a cosine schedule, which ends in pure noise."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,  # no effect on trailing steps, but the pipeline warns about 0
        clip_sample=False,
        set_alpha_to_one=True,
    )


def assemble(
    vae: AutoencoderKL, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, unet: UNet2DConditionModel
) -> StableDiffusionPipeline:
    """Return the pipeline of these parts."""
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
