"""Section `featurize` of params.yaml."""

import re
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from cache.errors import ParamsError
from pipeline.config.shared.section import Section, Workers, unknown_name


class Shape(NamedTuple):
    """How an EfficientNet differs from B0: factors of its width and depth, and the stride of its first layer."""

    width: float
    depth: float
    stem_stride: int = 2


# Tan & Le, ICML 2019, as efficientnet-pytorch has them
SCALES = ((1, 1), (1, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2, 3.1), (2.2, 3.6))
EFFICIENTNETS = {f"efficientnet-b{number}": Shape(*scale) for number, scale in enumerate(SCALES)}
MINI = "efficientnet-mini"
OWN = re.compile(r"efficientnet:(?P<width>[0-9.]+)x(?P<depth>[0-9.]+)/(?P<stride>[12])")
TIMM = "timm:"
OFFICIAL = ("advprop", "imagenet")  # weights that have a published file, and what inputs they expect


class FeaturizeConfig(Section):
    """The frozen backbone and how its features are computed and kept."""

    backbone: str = Field(
        description="`efficientnet-mini`, `efficientnet-b0` … `b8`, `efficientnet:<width>x<depth>/<stem stride>`, "
        "or `timm:<name>`"
    )
    weights: str = Field(
        description="`advprop` or `imagenet` (the official file, downloaded once; of efficientnet-mini ours, which is "
        "shipped), `random` (seeded), or the path of a .safetensors or pickle-free .pth file"
    )
    weights_folder: str | None = Field(
        description="where official files lie; null: the user's cache folder; AUGCACHE_WEIGHTS goes before both"
    )
    preprocessing: Literal["auto", "imagenet", "advprop"] = Field(
        description="what the weights expect: `imagenet` mean and std, `advprop` 2x-1; `auto` where it is known"
    )
    size: int = Field(ge=16, le=1024, description="side in pixels that images are resized to for the backbone")
    interpolation: Literal["bilinear", "bicubic"] = Field(description="how they are resized")
    engine: Literal["auto", "eager", "compile", "onnx"] = Field(
        description="`eager`, `compile` (torch.compile with frozen weights), `onnx` (ONNX Runtime, CPU, float32); "
        "`auto`: onnx where that is possible, else eager"
    )
    precision: Literal["float32", "bfloat16"] = Field(description="arithmetic of the network")
    dtype: Literal["float16", "float32"] = Field(description="type of the stored features")
    batch: int = Field(
        ge=16,
        le=4096,
        multiple_of=16,  # below that a row's last bits depend on its place in the batch (measured, docs/cache.md)
        description="compute batch, a multiple of 16; fixed, the last one padded",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(description="`auto` takes a GPU where there is one")
    workers: Workers = Field(description="processes; one already uses every core")
    rows_per_task: int = Field(ge=1, description="images a part; a killed run loses at most the parts in flight")
    scheduler: str | None = Field(description="address of a running dask scheduler, tcp://host:port, or null")

    @property
    def backbone_arguments(self) -> tuple[str, str, int, str, str | None]:
        """What `make_backbone` takes."""
        return self.backbone, self.weights, self.size, self.preprocessing, self.weights_folder

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        check_names(self.backbone, self.weights, self.preprocessing)
        if self.engine == "onnx" and (self.precision != "float32" or self.device == "cuda"):
            found, remedy = f"{self.precision} on {self.device}", "Set featurize.engine to auto, eager or compile."
            what, expected = "onnx computes in float32 on the CPU", "float32 on auto or cpu"
            raise ParamsError(what, where="params.yaml featurize.engine", expected=expected, found=found, remedy=remedy)
        return self


def check_names(backbone: str, weights: str, preprocessing: str) -> None:
    """Raise ParamsError for a name that does not exist, or weights that such a backbone cannot have."""
    if not backbone.startswith(TIMM) and shape_of(backbone) is None:
        known = [MINI, *EFFICIENTNETS, "efficientnet:<width>x<depth>/<stem stride>", "timm:<name>"]
        raise unknown_name("params.yaml featurize.backbone", backbone, known)
    if weights not in OFFICIAL:
        return
    if reason := _lacking(backbone, weights):
        raise ParamsError(reason[0], where="params.yaml featurize.weights", found=weights, remedy=reason[1])
    if preprocessing not in ("auto", weights):
        raise ParamsError(
            f"{weights} weights want inputs prepared for {weights}",
            where="params.yaml featurize.preprocessing",
            expected=f"auto or {weights}",
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


def _lacking(backbone: str, weights: str) -> tuple[str, str] | None:
    """Why a backbone has no official weights of this kind, and what to do; None where it has."""
    if backbone.startswith(TIMM):
        return "timm's weights cannot be fetched here by name", "Give the path of a file, or random."
    if backbone == MINI:
        return None if weights == "advprop" else (f"{MINI} was trained with AdvProp alone", "Set advprop.")
    if backbone not in EFFICIENTNETS:
        return f"no {weights} weights of {backbone} were ever published", "Give the path of a file, or random."
    if backbone == "efficientnet-b8" and weights == "imagenet":
        return f"{backbone} was published with AdvProp weights alone", "Set advprop."
    return None
