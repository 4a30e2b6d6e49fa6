"""The ONNX network takes raw images and says what PyTorch says, for any number of them, resized inside or not."""

import numpy as np
import onnx
import pytest
from bundles import noise, tiny_bundle

from cache.errors import RecordError
from pipeline.inference.onnx_export import largest_difference, to_onnx


@pytest.mark.parametrize(
    ("size", "overrides"),
    [
        (32, ()),
        (24, ()),
        (50, ("featurize.interpolation=bilinear",)),
        (32, ("featurize.backbone=timm:resnet10t", "featurize.weights=random")),
    ],
)
def test_onnx_agrees_with_pytorch(size: int, overrides: tuple[str, ...]) -> None:
    bundle = tiny_bundle(size, *overrides)
    network = to_onnx(bundle)
    found = onnx.load_from_string(network)
    (images,), (probabilities,) = found.graph.input, found.graph.output
    shape = images.type.tensor_type.shape.dim
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert shape[0].dim_param and [side.dim_value for side in shape[1:]] == [size, size, 3]
    assert (images.name, probabilities.name) == ("images", "probabilities")
    assert largest_difference(bundle, network, noise(70, size)) < 2e-3
    assert largest_difference(bundle, network, noise(1, size)) < 2e-3


def test_disagreement_is_refused() -> None:
    bundle, other = tiny_bundle(), tiny_bundle(32, "featurize.backbone=efficientnet:0.25x0.3/2")
    with pytest.raises(RecordError, match="ONNX and PyTorch disagree"):
        largest_difference(other, to_onnx(bundle), noise(20, 32))


def test_no_images_means_no_difference() -> None:
    assert largest_difference(tiny_bundle(), to_onnx(tiny_bundle()), np.empty((0, 32, 32, 3), np.uint8)) == 0.0
