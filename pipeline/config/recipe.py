"""A recipe: a full model and all of its training, as a named file in pipeline/recipes."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationInfo, field_validator, model_validator

from cache.errors import ParamsError
from pipeline.config.shared.networks import BACKBONE, NetworkConfig
from pipeline.config.shared.schedule import Schedule
from pipeline.config.shared.section import Section, parse, unknown_name

FOLDER = Path(__file__).resolve().parent.parent / "recipes"
Side = Annotated[int, Field(ge=8, le=1024)]
Probability = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0)]
Amount = Annotated[float, Field(ge=0)]


class MixConfig(Section):
    """CutMix (Yun et al., ICCV 2019) or MixUp (Zhang et al., ICLR 2018) of a batch."""

    probability: Probability = Field(description="share of batches that are mixed")
    alpha: float = Field(gt=0, description="both parameters of the Beta distribution of the share")


class RandAugmentConfig(Section):
    """RandAugment (Cubuk et al., 2020)."""

    operations: int = Field(ge=1, le=8, description="operations an image")
    magnitude: float = Field(ge=0, le=30, description="of 30")
    std: Amount = Field(description="standard deviation of the magnitude, drawn for each image and operation")


class JitterConfig(Section):
    """Random changes of colour: each factor is drawn from 1 - x to 1 + x."""

    brightness: Amount
    contrast: Amount
    saturation: Amount


class AugmentationConfig(Section):
    """What every training batch goes through, in this order, on the device; zero or null is off."""

    autoaugment: Literal["imagenet", "cifar10", "svhn"] | None = Field(description="policy of Cubuk et al., CVPR 2019")
    randaugment: RandAugmentConfig | None
    crop_area: Annotated[float, Field(gt=0, le=1)] = Field(
        description="smallest share of the area that a random crop keeps, of aspect ratio 3/4 to 4/3; 1: no such crop"
    )
    crop_padding: int = Field(ge=0, description="pixels of zeros around the image, before a random crop to its size")
    flip: Probability = Field(description="probability of mirroring left to right")
    rotation: Annotated[float, Field(ge=0, le=180)] = Field(description="degrees, both ways")
    translation: Annotated[float, Field(ge=0, lt=1)] = Field(description="share of the side, all ways")
    shear: Annotated[float, Field(ge=0, lt=90)] = Field(description="degrees, along both axes and both ways")
    jitter: JitterConfig | None
    grayscale: Probability
    erasing: Probability = Field(description="probability of erasing a rectangle (Zhong et al., AAAI 2020)")
    cutmix: MixConfig | None
    mixup: MixConfig | None = Field(description="where both are given, each mixed batch takes one of the two")


class AdversaryConfig(Section):
    """Training on examples moved by projected gradient descent as well (Madry et al., ICLR 2018)."""

    steps: int = Field(ge=1)
    eps: float = Field(gt=0, le=255, description="how far a value of 0..255 may move")
    step: float = Field(gt=0, le=255)
    norms: Literal["shared", "separate"] = Field(description="`separate`: AdvProp's auxiliary batch norms")


class SwaConfig(Section):
    """Stochastic weight averaging (Izmailov et al., UAI 2018), by torch's swa_utils."""

    start: Probability = Field(description="share of the epochs after which averaging begins")
    lr: float = Field(gt=0, description="its own constant learning rate")


class Recipe(Section):
    """A full model and its training. Values are those of plain.yaml unless a recipe says otherwise."""

    source: str = Field(description="the report and row that it follows")
    reported: str = Field(description="the figure that the source gives")
    chosen: str = Field(description="what the source does not state, and how we chose")
    network: NetworkConfig
    parameter_limit: int | None = Field(ge=1, description="more parameters than this are refused")
    size: Side | Annotated[list[Side], Field(min_length=1)] | None = Field(
        description="side of the network's input in pixels, or several, for equal shares of the epochs; null: as stored"
    )
    norms: Literal["trained", "frozen"] = Field(description="`frozen`: batch norms keep the statistics they have")
    schedule: Schedule = Field(description="phases in order, `<variant> x <epochs>`")
    batch: int = Field(ge=2, description="images a step")
    optimizer: Literal["sgd", "adam", "adamw"]
    lr: Rate = Field(description="peak learning rate")
    head_lr: float = Field(gt=0, description="factor of it for the head, when a backbone is fine-tuned")
    head_scale: Annotated[float, Field(gt=0, le=1)] = Field(
        description="factor of the trained head's last weights from which fine-tuning starts; 1: as trained"
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        description="factor of it from each block to the one before; 1: the same for all"
    )
    lr_cap: Rate | None = Field(
        description="highest rate of a matrix of a fine-tuned backbone, as a share of the root mean square of its "
        "weights; null: none"
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(description="of SGD; onecycle cycles it")
    nesterov: bool
    weight_decay: Amount
    decayed: Literal["all", "matrices"] = Field(description="`matrices`: biases and norms are not decayed")
    adam_eps: float = Field(gt=0)
    lr_schedule: Literal["constant", "steps", "cosine", "onecycle"]
    milestones: list[Annotated[float, Field(gt=0, lt=1)]] = Field(description="of `steps`: shares of the training")
    gamma: float = Field(gt=0, le=1, description="of `steps`: factor at each milestone")
    min_lr: Amount = Field(description="of `cosine`: the last learning rate")
    rise: Annotated[float, Field(gt=0, lt=1)] = Field(description="of `onecycle`: share of the training that rises")
    warmup_epochs: Amount = Field(description="epochs of linear warm-up, not with `onecycle`")
    clip: float | None = Field(gt=0, description="largest norm of the gradient")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    sampling: Literal["shuffled", "balanced"] = Field(
        description="`balanced`: drawn with replacement, every class equally often"
    )
    augmentation: AugmentationConfig
    adversary: AdversaryConfig | None
    swa: SwaConfig | None
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(description="decay a step of averaged weights; 0: none")
    patience: int | None = Field(ge=1, description="epochs without a better val accuracy before training stops")
    precision: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        description="arithmetic, by automatic mixed precision; `auto`: bfloat16 where the device has instructions for "
        "it, else float32"
    )

    @property
    def fine_tunes(self) -> bool:
        """Whether it starts from the backbone of featurize and a trained head."""
        return self.network.name == BACKBONE

    @field_validator("nesterov")
    @classmethod
    def _has_momentum(cls, nesterov: bool, info: ValidationInfo) -> bool:
        if nesterov and info.data.get("optimizer") == "sgd" and info.data.get("momentum") == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return nesterov

    @model_validator(mode="after")
    def _averages_once(self) -> Self:
        if self.swa is not None and (self.ema or self.patience is not None):
            raise ValueError("swa goes neither with ema nor with patience: it averages the last epochs")
        return self


def recipe_names() -> list[str]:
    """All recipes there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_recipe(name: str, override: dict[str, Any]) -> Recipe:
    """The recipe of this name with values put in its place. Raises ParamsError."""
    return parse(Recipe, _merged(_values(name, set()), override), "", f"pipeline/recipes/{name}.yaml")


def _values(name: str, seen: set[str], where: str = "params.yaml train_model.recipe") -> dict[str, Any]:
    """A recipe's own values over those of its base."""
    if name not in recipe_names():
        raise unknown_name(where, name, ["none", *recipe_names()])
    try:
        values = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParamsError(f"cannot be read: {error}", where=FOLDER / f"{name}.yaml") from error
    if not isinstance(values, dict):
        raise ParamsError("is not a mapping", where=FOLDER / f"{name}.yaml")
    base = values.pop("base", None)
    if base is None:
        return values
    if base in seen | {name}:
        raise ParamsError("recipes are each other's base", where=FOLDER / f"{name}.yaml", found=base)
    return _merged(_values(str(base), seen | {name}, f"pipeline/recipes/{name}.yaml base"), values)


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` put into `under`, mapping by mapping; a network of another name replaces the whole."""
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("name", old.get("name")) == old.get("name"):
            merged[key] = _merged(old, value)
        else:
            merged[key] = value
    return merged
