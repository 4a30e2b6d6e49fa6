"""EfficientNets by name or by shape, through efficientnet-pytorch."""

from typing import Any

from torch import nn

from pipeline.config.featurize import EFFICIENTNETS, MINI, shape_of
from pipeline.config.shared.section import unknown_name

CLASSIFIER = "_fc."  # how the names of an efficientnet-pytorch classifier's tensors begin


def make_efficientnet(name: str, size: int | None, classes: int | None = None) -> Any:
    """efficientnet-pytorch's network with random weights from torch's generator.

    size: of the inputs, in pixels; None pads by what comes in. classes: outputs of its classifier; None for no
    classifier. Neither drops anything at random in training.
    """
    from efficientnet_pytorch import EfficientNet
    from efficientnet_pytorch.utils import efficientnet

    shape = shape_of(name)
    if shape is None:
        raise unknown_name("backbone", name, [MINI, *EFFICIENTNETS])
    inner = size if size is None or shape.stem_stride == 2 else 2 * size  # the library's stem halves the size
    blocks, settings = efficientnet(
        shape.width, shape.depth, image_size=inner, dropout_rate=0.0, drop_connect_rate=0.0, num_classes=classes or 1
    )
    network = EfficientNet(blocks, settings._replace(include_top=classes is not None))
    if shape.stem_stride == 1:
        network._conv_stem.stride = (1, 1)
        network._conv_stem.static_padding = nn.ZeroPad2d(1)  # where a size is given
    for module in network.modules():
        if hasattr(module, "_swish"):
            module._swish = nn.SiLU()  # torch's own: faster than the library's, and can be traced and exported
    return network
