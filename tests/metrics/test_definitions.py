"""FID, KID and PPL agree with torch-fidelity's and lpips's own numbers; and the laws that they keep."""

from itertools import pairwise

import lpips
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from pipeline.core.errors import UserError
from pipeline.metrics.definitions import fid, full_rank, kid, psnr, smoothness
from pipeline.metrics.distances import layer_distances, lpips_distances, make_distances, pixel_distances
from pipeline.metrics.features import make_features
from pipeline.metrics.networks import normalised


def pictures(count: int, seed: int, size: int = 32) -> np.ndarray:
    """uint8 [count, size, size, 3]: blobs that differ a little, so that no score of them is nearly 0."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, 3)) + rng.integers(-40, 40)
    return np.kron(coarse, np.ones((1, size // 4, size // 4, 1))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def features() -> tuple[np.ndarray, np.ndarray]:
    """Of two sets of pictures, [150, 128] and [140, 128], by the network that comes with the project."""
    compute = make_features("digits")
    return compute(pictures(150, 0)), compute(pictures(140, 1))


def test_fid_is_that_of_torch_fidelity(features: tuple[np.ndarray, np.ndarray]) -> None:
    made, real = features
    statistics = [fid_features_to_statistics(torch.from_numpy(one)) for one in features]
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert fid(made, real) == pytest.approx(theirs, rel=1e-3)
    assert theirs > 1
    assert fid(made, made) == pytest.approx(0, abs=1e-3)
    assert fid(made, real) == pytest.approx(fid(real, made), rel=1e-6)


def test_kid_is_that_of_torch_fidelity(features: tuple[np.ndarray, np.ndarray]) -> None:
    """On as many images of both, of which there is one subset: all."""
    made, real = features[0][:140], features[1]
    theirs = kid_features_to_metric(
        torch.from_numpy(made),
        torch.from_numpy(real),
        kid_subsets=2,
        kid_subset_size=140,
        kid_kernel="poly",
        kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1,
        rng_seed=0,
        verbose=False,
    )
    assert kid(made, real) == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-3)


def test_kid_is_the_same_each_time_and_leaves_the_global_generator_alone(
    features: tuple[np.ndarray, np.ndarray],
) -> None:
    torch.manual_seed(7)
    wanted = torch.rand(1)
    torch.manual_seed(7)
    first = kid(*features)
    assert torch.equal(torch.rand(1), wanted)
    assert kid(*features) == first


def test_full_rank_needs_one_image_more_than_features() -> None:
    for images in (16, 17):
        drawn = np.random.default_rng(0).standard_normal((images, 16))
        assert full_rank(images, 16) == (np.linalg.matrix_rank(np.cov(drawn, rowvar=False)) == 16)


@pytest.fixture(scope="module")
def random_lpips() -> nn.Module:
    """LPIPS with its fitted heads on an AlexNet of random weights, for ImageNet's are a download."""
    torch.manual_seed(0)
    return lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)


def test_ppl_is_the_sum_of_lpips_between_neighbours(random_lpips: nn.Module) -> None:
    frames = pictures(5, 2, size=64)
    scaled = [lpips.im2tensor(frame) for frame in frames]  # as the package reads an image
    with torch.inference_mode():
        theirs = [random_lpips(a, b).item() for a, b in pairwise(scaled)]
    ours = lpips_distances(random_lpips, frames)
    assert ours == pytest.approx(theirs, abs=1e-3, rel=1e-3)
    assert smoothness(ours).ppl == pytest.approx(sum(theirs), rel=1e-3)


def test_distances_of_layers_are_those_of_lpips_without_its_heads() -> None:
    torch.manual_seed(0)
    plain = lpips.LPIPS(net="alex", lpips=False, pnet_rand=True, verbose=False)
    frames = pictures(4, 3, size=64)
    x = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        theirs = [plain(x[[i]], x[[i + 1]]).item() for i in range(3)]
    ours = layer_distances(
        frames,
        prepare=lambda some: plain.scaling_layer(
            torch.from_numpy(some).permute(0, 3, 1, 2).float() / 127.5 - 1
        ),
        maps=lambda scaled: list(plain.net(scaled)),
    )
    assert ours == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize("name", ["digits", "pixels"])
def test_a_constant_sequence_has_a_ppl_of_0_and_a_reversed_one_the_same(name: str) -> None:
    distances, frames = make_distances(name), pictures(70, 4)  # more than go through a network at a time
    assert smoothness(distances(np.repeat(frames[:1], 5, axis=0))) == smoothness(np.zeros(4))
    there, back = smoothness(distances(frames)), smoothness(distances(frames[::-1]))
    assert there.ppl == pytest.approx(back.ppl)
    assert there.variation == pytest.approx(back.variation)
    assert there.ppl > 0


def test_lpips_of_a_constant_sequence_is_0(random_lpips: nn.Module) -> None:
    frames = np.repeat(pictures(1, 5, size=64), 4, axis=0)
    assert smoothness(lpips_distances(random_lpips, frames)).ppl == 0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_variation_is_deviation_over_mean(distances: list[float]) -> None:
    found = smoothness(np.array(distances))
    assert found.ppl == pytest.approx(sum(distances))
    even = smoothness(np.full(len(distances), 2.0))
    assert even.variation == 0
    doubled = smoothness(2 * np.array(distances))
    assert doubled.variation == pytest.approx(found.variation, abs=1e-6)


def test_pixel_distances_and_psnr_of_known_pictures() -> None:
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert pixel_distances(np.stack([black, white, white])).tolist() == [1.0, 0.0]
    assert psnr(black, white) == 0
    assert psnr(black, black) == float("inf")
    assert psnr(black, np.full((4, 4, 3), 51, np.uint8)) == pytest.approx(20 * np.log10(5))


def test_a_network_that_can_not_be_had_is_named_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*args: object, **kwargs: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", nothing)
    with pytest.raises(
        UserError, match=r"network inception: its weights cannot be loaded \(no network here\); .*TORCH_HOME"
    ):
        make_features("inception")
    monkeypatch.setattr("lpips.pretrained_networks.tv.alexnet", nothing)
    with pytest.raises(UserError, match="network alex: its weights cannot be loaded"):
        make_distances("alex")


def test_unknown_networks_and_other_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="there is no network 'resnet5'"):
        make_features("resnet5")
    with pytest.raises(UserError, match="expected NAME, or NAME=FILE"):
        make_features("resnet18=")
    with pytest.raises(UserError, match="the images are 64x64, but this network takes 32x32 only"):
        make_features("digits")(pictures(2, 0, size=64))


def test_a_model_of_timm_takes_its_weights_from_a_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=0).eval()
    file = tmp_path_factory.mktemp("weights") / "resnet10t.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, file)
    frames = pictures(3, 6, size=64)
    network.image_size = None
    network.normalisation = network.default_cfg["mean"], network.default_cfg["std"]
    with torch.inference_mode():
        wanted = network(normalised(frames, network)).numpy()
    assert np.allclose(make_features(f"resnet10t={file}")(frames), wanted, atol=1e-5)
    assert len(make_distances(f"resnet10t={file}")(frames)) == 2
