"""EfficientNets by name or by shape, through efficientnet-pytorch, and its names of tensors in those of timm."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from pipeline.config.shared.featurize import EFFICIENTNETS, MINI, shape_of
from pipeline.config.shared.section import unknown_name

CLASSIFIER = "_fc."  # how the names of an efficientnet-pytorch classifier's tensors begin
# efficientnet-pytorch's names of modules, and timm's
OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
INVERTED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
INVERTED |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}


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


def lite_architecture(name: str) -> str:
    """timm's name of an EfficientNet-Lite.

    Its weights come from TensorFlow, so the one with TensorFlow's padding: zero-shot top-1 on 1,000 photos of Tiny
    ImageNet is 30.2 % with it, and 28.1 % with torch's (lite0 at 224 px).
    """
    return f"tf_{name.replace('-', '_')}"


def lite_tensors(tensors: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Tensors of an EfficientNet-Lite under timm's names; those that do not have efficientnet-pytorch's are kept."""
    stages: Any = getattr(network, "blocks", ())
    if "_conv_stem.weight" not in tensors or not len(stages):
        return dict(tensors)
    places = [(stage, block) for stage, blocks in enumerate(stages) for block in range(len(blocks))]
    return {_timm_tensor_name(name, places): tensor for name, tensor in tensors.items()}


def _timm_tensor_name(name: str, places: list[tuple[int, int]]) -> str:
    """timm's name of a tensor. places: stage and block of each of efficientnet-pytorch's blocks."""
    first, *rest = name.split(".")
    if first != "_blocks":
        return ".".join([OUTER.get(first, first), *rest])
    index, module, *leaf = rest
    if int(index) >= len(places):
        return name
    stage, block = places[int(index)]
    names = SEPARABLE if stage == 0 else INVERTED
    return ".".join(["blocks", str(stage), str(block), names.get(module, module), *leaf])
