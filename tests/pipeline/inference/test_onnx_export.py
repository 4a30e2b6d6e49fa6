"""The ONNX network takes raw images and says what PyTorch says, for any number of them, resized inside or not."""

import numpy as np
import onnx
import pytest
import torch
from bundles import noise, tiny_bundle
from rounding import FLOAT16, FLOAT32

from cache.errors import RecordError
from pipeline.inference.bundle import Bundle
from pipeline.inference.onnx_export import ImagesToProbabilities, check_onnx, checked_onnx, largest_difference, to_onnx
from pipeline.inference.restore import FeaturizedHead


@pytest.mark.parametrize(
    ("size", "overrides"),
    [
        (32, ()),
        pytest.param(24, (), marks=pytest.mark.long),
        (50, ("featurize.interpolation=bilinear",)),
        (32, ("featurize.backbone=timm:resnet10t", "featurize.weights=random")),
        (32, ("featurize.preprocessing=advprop", "featurize.dtype=float32", "featurize.engine=eager")),
    ],
)
def test_onnx_agrees_with_pytorch(size: int, overrides: tuple[str, ...]) -> None:
    bundle = tiny_bundle(size, *overrides)
    network = to_onnx(bundle)
    graph = onnx.load_from_string(network).graph
    (images,) = graph.input
    (probabilities,) = graph.output
    shape = images.type.tensor_type.shape.dim
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert shape[0].dim_param and [side.dim_value for side in shape[1:]] == [size, size, 3]
    assert (images.name, probabilities.name) == ("images", "probabilities")
    for count in (1, 70):
        images = noise(count, size)
        assert largest_difference(bundle, network, images) < rounding_of_features(bundle, images)


def rounding_of_features(bundle: Bundle, images: np.ndarray) -> float:
    """How far probabilities may move because the bundle rounds features to float16 and ONNX does not.

    Half a unit of every feature, carried to the logits by absolute weights; a probability moves by half as much as the
    logits at most. Four times float32's rounding stands for both networks, which sum about a hundred numbers.
    """
    whole = bundle.classifier
    assert isinstance(whole, FeaturizedHead)
    head = whole.head.head
    features = torch.from_numpy(whole.featurizer(images, np.empty(len(images), dtype="S64"))).float().abs()
    unit = FLOAT16 / 2 if whole.featurizer.config.dtype == "float16" else 0.0
    error = features * (unit + 4 * 100 * FLOAT32) / head.deviation
    for layer in head.layers:
        if isinstance(layer, torch.nn.Linear):
            error = error @ layer.weight.abs().T
    return float(error.max().detach()) / whole.head.temperature / 2


@pytest.fixture
def network() -> ImagesToProbabilities:
    return ImagesToProbabilities(tiny_bundle()).eval()


def probabilities_of(network: ImagesToProbabilities, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy(images)).numpy()


def test_disagreement_is_refused_and_no_images_mean_no_difference() -> None:
    other = tiny_bundle(32, "featurize.backbone=efficientnet:0.25x0.3/2")
    network = to_onnx(tiny_bundle())
    with pytest.raises(RecordError, match="ONNX and PyTorch disagree"):
        largest_difference(other, network, noise(20, 32))
    assert largest_difference(other, network, np.empty((0, 32, 32, 3), np.uint8)) == 0.0


def test_a_small_mistake_is_refused_where_rounding_is_small(network: ImagesToProbabilities) -> None:
    images = noise(8, 32)
    exact = probabilities_of(network, images)
    check_onnx(network, exact, images)
    with pytest.raises(RecordError, match="ONNX and PyTorch disagree; expected a difference of at most"):
        check_onnx(network, exact + np.float32(1e-3), images)
    with pytest.raises(RecordError, match="found nan"):
        check_onnx(network, exact * np.float32("nan"), images)


def test_a_sound_network_whose_features_are_nearly_constant_is_not_refused(network: ImagesToProbabilities) -> None:
    """Divided by a deviation of 1e-6, rounding of features becomes visible; it is no mistake of the export."""
    images = noise(8, 32)
    head = network.network[1]  # type: ignore[index]
    head.deviation[::4] = 1e-6
    head.mean.copy_(network.network[0](torch.zeros(1, 3, 32, 32))[0])  # type: ignore[index,operator]
    network.temperature = 1e4
    other_order = probabilities_of(network.to(memory_format=torch.contiguous_format), images[::-1].copy())[::-1].copy()
    check_onnx(network, other_order, images)


def test_a_network_without_an_onnx_form_is_exported_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator\nand a long trace")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    network, sentence = checked_onnx(tiny_bundle(), noise(2, 32))
    assert network is None
    assert sentence == "without model.onnx: this network cannot be exported as ONNX; found no such operator"
