"""Section `featurize` of params.yaml."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from cache.errors import ParamsError
from pipeline.config.shared.section import AUTO, Section, Workers, parse, unknown_name
from pipeline.config.shared.timm_names import input_size as timm_input_size


class Shape(NamedTuple):
    """How an EfficientNet differs from B0: factors of its width and depth, and the stride of its first layer."""

    width: float
    depth: float
    stem_stride: int = 2


# Tan & Le, ICML 2019, as efficientnet-pytorch has them
SCALES = ((1, 1), (1, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2, 3.1), (2.2, 3.6))
EFFICIENTNETS = {f"efficientnet-b{number}": Shape(*scale) for number, scale in enumerate(SCALES)}
PUBLISHED_SIZES = (224, 240, 260, 300, 380, 456, 528, 600, 672)  # input sides of b0 to b8, in pixels
INPUT_SIZES = {f"efficientnet-b{number}": size for number, size in enumerate(PUBLISHED_SIZES)}
LITE0 = "efficientnet-lite0"
LITE = {LITE0: 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}  # names and input sides
MINI = "efficientnet-mini"
SMALL_SIZE = 64  # input side of shipped weights, and of shapes of your own, which `pretrain` trains up to this size
OWN = re.compile(r"efficientnet:(?P<width>[0-9.]+)x(?P<depth>[0-9.]+)/(?P<stride>[12])")
TIMM = "timm:"
ADVPROP = "advprop"
OFFICIAL = (ADVPROP, "imagenet")  # weights that have a published file, and what inputs they expect
PRETRAINED = "pretrained"  # timm's own weights of a name, from the Hugging Face hub
LAST: Final = "last"  # the pooled output of the last layer
ALL: Final = "all"


class FeaturizeConfig(Section):
    """The frozen backbone and how its features are computed and kept."""

    backbone: str = Field(
        description="`auto` (the shipped one, `efficientnet-lite0`, for small images and machines without a network; "
        "`start` recommends one for photos), `efficientnet-mini`, `efficientnet-lite0` … `lite2`, "
        "`efficientnet-b0` … `b8`, "
        "`efficientnet:<width>x<depth>/<stem stride>`, or `timm:<name>`; list them: "
        "`python -m stages.featurize --backbones`"
    )
    weights: str = Field(
        description="`advprop` or `imagenet` (the official file, downloaded once; those of efficientnet-mini and "
        "efficientnet-lite0 are installed), `pretrained` (timm's own, from the Hugging Face hub), `random` (seeded), "
        "or the path of a .safetensors or pickle-free .pth file"
    )
    weights_folder: str | None = Field(
        description="folder of official files; null: the user's cache folder; AUGCACHE_WEIGHTS overrides both"
    )
    preprocessing: Literal["auto", "imagenet", "advprop"] = Field(
        description="what the weights expect: `imagenet` mean and std, `advprop` 2x-1; `auto` if it is known"
    )
    layers: Literal["last", "all"] | Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="outputs to pool: `last` (the last layer's average), `all` (also average and maximum of every "
        "block), or a list of `last` and modules' names"
    )
    size: int = Field(
        ge=16,
        le=1024,
        description="side in pixels that images are resized to for the backbone; `auto`: the size its weights were "
        f"trained on ({SMALL_SIZE} for shapes of your own)",
    )
    interpolation: Literal["bilinear", "bicubic"] = Field(description="how they are resized")
    engine: Literal["auto", "eager", "compile", "onnx"] = Field(
        description="`eager`, `compile` (torch.compile with frozen weights), `onnx` (ONNX Runtime, CPU, float32); "
        "`auto`: onnx if the backbone gives the same features that way, else eager"
    )
    precision: Literal["float32", "bfloat16"] = Field(description="arithmetic of the network")
    dtype: Literal["float16", "float32"] = Field(description="type of the stored features")
    batch: int = Field(
        ge=16,
        le=4096,
        multiple_of=16,  # below that a row's last bits depend on its place in the batch (measured, docs/cache.md)
        description="compute batch, a multiple of 16; fixed, the last one padded",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(description="`auto` takes a GPU if there is one")
    workers: Workers = Field(description="processes; one already uses every core")
    rows_per_task: int = Field(ge=1, description="images per part; a killed run loses at most the unfinished parts")
    scheduler: str | None = Field(description="address of a running dask scheduler, tcp://host:port, or null")

    @property
    def backbone_arguments(self) -> tuple[str, str, int, str, str | None, "Layers"]:
        """What `make_backbone` takes."""
        return self.backbone, self.weights, self.size, self.preprocessing, self.weights_folder, self.layers

    @field_validator("backbone", mode="before")
    @classmethod
    def _auto_is_the_shipped_one(cls, backbone: Any) -> Any:
        return LITE0 if backbone == AUTO else backbone

    @field_validator("size", mode="before")
    @classmethod
    def _auto_follows_the_backbone(cls, size: Any, info: ValidationInfo) -> Any:
        if size != AUTO:
            return size
        return input_size(str(info.data.get("backbone")), str(info.data.get("weights")))

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        check_names(self.backbone, self.weights, self.preprocessing)
        if self.engine == "onnx" and (self.precision != "float32" or self.device == "cuda"):
            actual = f"{self.precision} on {self.device}"
            remedy = "Set featurize.engine to auto, eager or compile."
            what = "onnx computes in float32 on the CPU"
            expected = "float32 on auto or cpu"
            raise ParamsError(
                what, where="params.yaml featurize.engine", expected=expected, found=actual, remedy=remedy
            )
        if self.engine == "compile" and self.layers != LAST:
            what = "compile cannot give the outputs of inner layers"
            remedy = "Set featurize.engine to auto, eager or onnx."
            raise ParamsError(what, where="params.yaml featurize.engine", found=f"layers {self.layers}", remedy=remedy)
        return self


Layers = Literal["last", "all"] | tuple[str, ...]


def input_size(backbone: str, weights: str) -> int:
    """Side in pixels of the images that a backbone's weights were trained on. Imports timm for its names."""
    if backbone.startswith(TIMM):
        return timm_input_size(backbone.removeprefix(TIMM))
    check_names(backbone, "random", AUTO)
    if (backbone, weights) == (LITE0, ADVPROP):
        return SMALL_SIZE
    return {**INPUT_SIZES, **LITE}.get(backbone, SMALL_SIZE)


def check_names(backbone: str, weights: str, preprocessing: str) -> None:
    """Raise ParamsError for a name that does not exist, or weights that such a backbone cannot have."""
    if not backbone.startswith(TIMM) and backbone not in LITE and shape_of(backbone) is None:
        known = [MINI, *LITE, *EFFICIENTNETS, "efficientnet:<width>x<depth>/<stem stride>", "timm:<name>"]
        raise unknown_name("params.yaml featurize.backbone", backbone, known)
    if weights not in (*OFFICIAL, PRETRAINED):
        return
    published = _published(backbone)
    if weights not in published:
        raise ParamsError(
            f"{backbone} has no published weights of this name",
            where="params.yaml featurize.weights",
            expected=" or ".join([*published, "random", "the path of a file"]),
            found=weights,
        )
    wanted = "advprop" if backbone in LITE else weights
    if weights in OFFICIAL and preprocessing not in (AUTO, wanted):
        raise ParamsError(
            f"{weights} weights of {backbone} want inputs prepared as {wanted} says",
            where="params.yaml featurize.preprocessing",
            expected=f"auto or {wanted}",
            found=preprocessing,
            remedy="The other one costs accuracy without an error.",
        )


def shape_of(backbone: str) -> Shape | None:
    """The shape of an EfficientNet by its name; None for any other name."""
    if backbone == MINI:
        return Shape(0.5, 0.5)
    if own := OWN.fullmatch(backbone):
        try:
            shape = Shape(float(own["width"]), float(own["depth"]), int(own["stride"]))
        except ValueError:
            return None
        return shape if 0 < shape.width <= 8 and 0 < shape.depth <= 8 else None
    return EFFICIENTNETS.get(backbone)


def _published(backbone: str) -> tuple[str, ...]:
    """The names of the weights that are published for a backbone."""
    if backbone.startswith(TIMM):
        return (PRETRAINED,)
    if backbone == LITE0:
        return OFFICIAL
    if backbone in LITE:
        return ("imagenet",)
    if backbone in (MINI, "efficientnet-b8"):
        return (ADVPROP,)
    return OFFICIAL if backbone in EFFICIENTNETS else ()


def with_sizes(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with numbers in place of `size: auto`: images are prepared and augmented at the backbone's size.

    Raises ParamsError if the section `featurize`, which the size follows from, is wrong.
    """
    followers = [name for name in ("prepare", "augment") if _size_is_auto(values.get(name))]
    if not followers:
        return dict(values)
    size = parse(FeaturizeConfig, values.get("featurize"), "featurize").size
    return {**values, **{name: {**values[name], "size": size} for name in followers}}


def _size_is_auto(section: object) -> bool:
    return isinstance(section, Mapping) and section.get("size") == AUTO
