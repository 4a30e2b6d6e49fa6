"""Section `pretrain` of params.yaml."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.shared.featurize import shape_of
from pipeline.config.shared.section import Section


class PretrainConfig(Section):
    """A backbone of one's own, trained by AdvProp on a prepared ImageSet."""

    backbone: str = Field(
        description="`efficientnet-mini`, `efficientnet-b0` … `b8`, or `efficientnet:<width>x<depth>/<stem stride>`; "
        "with `init` any backbone of `featurize`"
    )
    init: str | None = Field(description="weights to start from, as in `featurize.weights`; null: random ones")
    sizes: list[Annotated[int, Field(ge=16, le=1024)]] = Field(
        min_length=1, max_length=4, description="sides of the training images in pixels, for equal shares of the epochs"
    )
    epochs: int = Field(ge=1, description="passes over the images")
    attack_steps: int = Field(ge=0, description="steps of the adversary; 0: plain training without AdvProp")
    attack_eps: float = Field(ge=0, le=255, description="how far it may move a value of 0..255")
    attack_step: float = Field(ge=0, le=255, description="how far it moves a value in one step")
    min_crop: float = Field(gt=0, le=1, description="smallest share of an image's area that a random crop keeps")
    batch: int = Field(ge=2, description="images a step, each clean and adversarial")
    lr: float = Field(gt=0, description="peak learning rate of AdamW, one cycle over all epochs")
    weight_decay: float = Field(ge=0, description="weight decay of convolutions and classifier")
    label_smoothing: float = Field(ge=0, lt=1, description="label smoothing")
    engine: Literal["eager", "compile"] = Field(description="`eager`, or `compile`: torch.compile")
    precision: Literal["float32", "bfloat16"] = Field(description="arithmetic of the network")
    device: Literal["auto", "cpu", "cuda"] = Field(description="`auto` takes a GPU where there is one")
    checkpoint_seconds: float = Field(ge=0, description="how often the state is kept; a killed run loses at most that")
    seed: int = Field(ge=0, description="seed of initialisation, order, crops and attacks")

    memory_gb: float = Field(gt=0, description="larger sets of images are streamed from disk instead of kept in memory")

    @property
    def seeds(self) -> int:
        """How many networks are trained."""
        return 1

    @model_validator(mode="after")
    def _is_efficientnet(self) -> Self:
        if self.init is None and shape_of(self.backbone) is None:
            raise ValueError("only efficientnet-pytorch's architecture is pretrained from random weights")
        return self
