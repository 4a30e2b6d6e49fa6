"""The network of a recipe: one section a kind, told apart by `name`."""

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, field_validator, model_validator

from pipeline.config.shared.section import Section, parse

BACKBONE = "backbone"
Width = Annotated[int, Field(ge=1, le=4096)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Stem = Literal["imagenet", "small"]


class ResNet50Config(Section):
    """ResNet-50 (He et al., CVPR 2016) as report 000 varies it."""

    name: Literal["resnet50"]
    activation: Literal["relu", "mish", "gelu", "swish", "swish_trainable"]
    norm: Literal["batch", "layer"]
    spp: bool = Field(description="three SPP blocks: after the first 3, the next 4 and the next 6 bottlenecks")
    stem: Stem = Field(description="`imagenet`: 7x7 with stride 2 and a max-pool; `small`: 3x3 with stride 1, none")


class ResNetV2Config(Section):
    """A pre-activation ResNet of standard blocks (He et al., ECCV 2016), as report 002 has it."""

    name: Literal["resnetv2"]
    widths: list[Width] = Field(min_length=1, description="channels of each stack; every stack but the first halves")
    blocks: Annotated[int, Field(ge=1, le=64)] = Field(description="blocks of each stack")


class AttentionResNetConfig(Section):
    """A pre-activation ResNet with Mish, attention in every block and a Transformer block (report 003)."""

    name: Literal["attention_resnet"]
    widths: list[Width] = Field(min_length=1)
    blocks: list[Annotated[int, Field(ge=1, le=64)]] = Field(min_length=1, description="blocks of each stack")
    attention: Literal["none", "se", "cbam"]
    heads: int = Field(ge=0, description="heads of the Transformer block over the last map; 0: no such block")
    feedforward: Width = Field(description="width of the Transformer block's hidden layer")
    dropout: Rate

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.blocks) != len(self.widths):
            raise ValueError("widths and blocks must be equally many")
        if self.heads and self.widths[-1] % self.heads:
            raise ValueError("the last width must be a multiple of heads")
        return self


class WideResNetConfig(Section):
    """A Wide ResNet (Zagoruyko & Komodakis, BMVC 2016), pre-activated, with squeeze and excitation or without."""

    name: Literal["wide_resnet"]
    depth: int = Field(ge=10, description="6n + 4 layers")
    width: int = Field(ge=1, le=64, description="factor of the channels 16, 32 and 64")
    se: bool = Field(description="squeeze and excitation in every block (Hu et al., CVPR 2018)")
    dropout: Rate

    @field_validator("depth")
    @classmethod
    def _whole_blocks(cls, depth: int) -> int:
        if depth % 6 != 4:
            raise ValueError("depth must be 6n + 4, such as 16, 22 or 28")
        return depth


class LibraryConfig(Section):
    """Any network of torchvision or timm, from random weights."""

    name: Literal["library"]
    model: str = Field(pattern=r"^(torchvision|timm):[A-Za-z0-9_.]+$", description="a library, and its name for it")
    stem: Stem


class BackboneConfig(Section):
    """A pretrained network that is handed over, such as `featurize`'s backbone with the trained head over it."""

    name: Literal["backbone"]


Built = ResNet50Config | ResNetV2Config | AttentionResNetConfig | WideResNetConfig | LibraryConfig
NetworkConfig = Annotated[Built | BackboneConfig, Discriminator("name")]


class _Holder(Section):
    network: NetworkConfig


def network_of(values: object) -> NetworkConfig:
    """A network's section from plain values. Raises ParamsError."""
    return parse(_Holder, {"network": values}, "recipe").network
