"""Attention interpolation: which layers it changes, and to what."""

import torch
from torch import nn

from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.morph.attention import AttentionInterpolation, is_interpolated


class Projection(nn.Module):
    """Stands for a denoiser: one self-attention's keys and values on the way up, and keys elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        attention = nn.ModuleDict({name: nn.Linear(3, 2) for name in ("to_k", "to_v", "to_q")})
        self.up_blocks = nn.ModuleList(
            [nn.ModuleDict({"attn1": attention, "attn2": nn.ModuleDict({"to_k": nn.Linear(3, 2)})})]
        )
        self.down_blocks = nn.ModuleList([nn.ModuleDict({"attn1": nn.ModuleDict({"to_k": nn.Linear(3, 2)})})])


def test_attention_is_each_ends_own_at_0_and_1_and_between_else() -> None:
    torch.manual_seed(0)
    denoiser, x = Projection().double(), torch.randn(4, 5, 3, dtype=torch.float64)
    layers = denoiser.up_blocks[0]["attn1"]
    own = {name: layer(x) for name, layer in layers.items()}
    attention = AttentionInterpolation(torch.tensor([0.0, 0.25, 0.5, 1.0]))
    with attention.applied_to(denoiser):
        for name in ("to_k", "to_v"):
            made, plain = layers[name](x), own[name]
            assert torch.equal(made[[0, -1]], plain[[0, -1]])
            assert torch.allclose(made[1], 0.75 * plain[0] + 0.25 * plain[-1])
            assert torch.allclose(made[2], 0.5 * plain[0] + 0.5 * plain[-1])
        assert torch.equal(layers["to_q"](x), own["to_q"])
        attention.on = False
        assert torch.equal(layers["to_k"](x), own["to_k"])
    attention.on = True
    assert torch.equal(layers["to_k"](x), own["to_k"])


def test_hidden_states_are_interpolated_before_the_projection_of_the_frame() -> None:
    """DiffMorpher's code: each frame projects (1 - s) h_X + s h_Y with weights of its own."""
    torch.manual_seed(0)
    denoiser, x = Projection().double(), torch.randn(3, 5, 3, dtype=torch.float64)
    frames = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    layers = denoiser.up_blocks[0]["attn1"]

    def own_weights(layer: nn.Module, args: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        return output * frames[:, None, None]

    for layer in layers.values():
        layer.register_forward_hook(own_weights)
    plain = layers["to_q"](x)
    positions = torch.tensor([0.0, 0.25, 1.0])
    with AttentionInterpolation(positions, "hidden").applied_to(denoiser):
        for name in ("to_k", "to_v"):
            mixed = torch.stack([x[0], 0.75 * x[0] + 0.25 * x[2], x[2]])
            weight, bias = layers[name].weight, layers[name].bias
            assert torch.allclose(layers[name](x), (mixed @ weight.T + bias) * frames[:, None, None])
        assert torch.equal(layers["to_q"](x), plain)


def test_attention_is_replaced_in_self_attention_on_the_way_up_alone(mini: BaseModel) -> None:
    names = [name for name, _ in Projection().named_modules() if is_interpolated(name)]
    assert names == ["up_blocks.0.attn1.to_k", "up_blocks.0.attn1.to_v"]
    replaced = [name for name, _ in mini.denoiser.named_modules() if is_interpolated(name)]
    assert len(replaced) == 2 * sum(
        name.endswith("attn1") and name.startswith("up_") for name, _ in mini.denoiser.named_modules()
    )
    assert replaced
