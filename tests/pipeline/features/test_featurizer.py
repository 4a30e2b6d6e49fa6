"""A feature row depends on its own pixels and on the recipe, and on nothing else: every promise to the bit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rounding import BFLOAT16

from cache.errors import InputError, ParamsError
from pipeline.config.params import read_params
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.features.featurizer import Featurizer, choose_device
from pipeline.networks.resize import resized

ROOT = Path(__file__).resolve().parents[3]
IMAGES = np.random.default_rng(3).integers(0, 256, (50, 40, 40, 3), dtype=np.uint8)
KEYS = np.array([b""] * len(IMAGES))


def make_config(*overrides: str) -> FeaturizeConfig:
    chosen = ["backbone=efficientnet-mini", "size=48", "batch=16", "dtype=float32", "device=cpu", *overrides]
    config = read_params(ROOT / "params.yaml", [f"featurize.{override}" for override in chosen]).featurize
    assert isinstance(config, FeaturizeConfig)
    return config


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    return Featurizer(make_config("engine=eager"))(IMAGES, KEYS)


@pytest.mark.parametrize("engine", ["eager", "onnx"])
def test_a_row_does_not_depend_on_its_place_or_its_neighbours(engine: str) -> None:
    featurizer = Featurizer(make_config(f"engine={engine}"))
    order = np.random.default_rng(1).permutation(len(IMAGES))
    whole = featurizer(IMAGES, KEYS)
    assert np.array_equal(featurizer(IMAGES[order], KEYS), whole[order])
    assert np.array_equal(featurizer(IMAGES[7:8], KEYS)[0], whole[7])


@pytest.mark.parametrize("engine", ["eager", "onnx"])
@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_bits_do_not_depend_on_the_number_of_threads(engine: str, threads: int) -> None:
    """With torch's own threads they do: the ends of each thread's share run through other code."""
    featurizer = Featurizer(make_config(f"engine={engine}"))
    whole = featurizer(IMAGES, KEYS)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert np.array_equal(featurizer(IMAGES, KEYS), whole)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_a_batch_that_would_move_last_bits_is_refused() -> None:
    """In batches of 7 or 8 the last bits of a row depend on its place."""
    with pytest.raises(ParamsError, match="multiple of 16"):
        make_config("batch=24")


def test_random_features_tell_images_apart(features: np.ndarray) -> None:
    assert features.shape[0] == 50 and np.isfinite(features).all()
    assert features.std(axis=0).mean() > 1e-2


def test_half_precision_keeps_the_direction_of_features(features: np.ndarray) -> None:
    featurizer = Featurizer(make_config("precision=bfloat16", "engine=eager"))
    half = featurizer(IMAGES, KEYS)
    cosine = (half * features).sum(axis=1) / np.linalg.norm(half, axis=1) / np.linalg.norm(features, axis=1)
    # Every layer rounds its inputs and outputs by half a unit at most. Errors of layers are independent, so their
    # squares add; an error e turns a vector by e, and cos(e) is 1 - e**2 / 2. Doubled, for layers that magnify.
    layers = sum(1 for module in featurizer.backbone.network.modules() if not list(module.children()))
    turned = 2 * BFLOAT16 / 2 * (2 * layers) ** 0.5
    assert cosine.min() > 1 - turned**2 / 2 and not np.array_equal(half, features)


def test_resizing_is_exact_where_nothing_is_to_do() -> None:
    pixels = torch.rand(1, 3, 8, 8) * 255
    assert resized(pixels, 8, "bicubic") is pixels
    assert resized(pixels, 16, "bicubic").shape == (1, 3, 16, 16)
    assert float(resized(pixels.round(), 16, "bicubic").max()) <= 255


def test_a_gpu_that_is_not_there_is_refused() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(ParamsError, match="no GPU"):
            choose_device("cuda")


def test_weights_that_give_nan_are_refused(tmp_path: Path) -> None:
    state = dict(Featurizer(make_config()).backbone.network.network.state_dict())
    state["_conv_stem.weight"] = torch.full_like(state["_conv_stem.weight"], float("nan"))
    torch.save(state, tmp_path / "broken.pth")
    broken = make_config(f"weights={tmp_path / 'broken.pth'}", "preprocessing=imagenet")
    with pytest.raises(InputError, match="NaN"):
        Featurizer(broken)(IMAGES[:2], KEYS[:2])


def test_features_beyond_float16_are_one_line_with_the_remedy(tmp_path: Path) -> None:
    network = Featurizer(make_config()).backbone.network.network
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state["_bn1.bias"] = torch.full_like(state["_bn1.bias"], 70_000.0)  # float16 ends at 65,504
    torch.save(state, tmp_path / "large.pth")
    large = [f"weights={tmp_path / 'large.pth'}", "preprocessing=imagenet"]
    with pytest.raises(InputError, match=r"too large for float16; expected at most 65,504.*featurize\.dtype=float32"):
        Featurizer(make_config(*large, "dtype=float16"))(IMAGES[:2], KEYS[:2])
    assert Featurizer(make_config(*large))(IMAGES[:2], KEYS[:2]).max() > 65_504


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("side", "size"), [(40, 48), (64, 224), (64, 32), (33, 64)])
def test_the_order_of_memory_changes_no_bit_of_a_resized_image(side: int, size: int, interpolation: str) -> None:
    """Engines want theirs in different orders; rows of a key must not depend on which they were resized in."""
    pixels = torch.randint(0, 256, (4, side, side, 3), generator=torch.Generator().manual_seed(0))
    images = pixels.to(torch.uint8).permute(0, 3, 1, 2)
    last, first = (
        images.to(torch.float32, memory_format=layout) for layout in (torch.channels_last, torch.contiguous_format)
    )
    assert torch.equal(resized(last, size, interpolation), resized(first, size, interpolation))
