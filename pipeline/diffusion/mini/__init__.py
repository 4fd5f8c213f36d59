"""``mini``: a base model shaped like Stable Diffusion, small enough to fine-tune on two CPU cores.

``build`` holds the architecture and ``train`` makes the weights in the folder ``WEIGHTS``, which
``diffusers.DiffusionPipeline.from_pretrained`` loads. ``ENCODER`` is an image encoder, made by ``encoder``.
"""

from pathlib import Path

WEIGHTS = Path(__file__).with_name("weights")
ENCODER = Path(__file__).with_name("encoder.safetensors")
