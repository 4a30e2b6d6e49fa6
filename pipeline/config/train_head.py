"""Section `train_head` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.shared.schedule import Schedule
from pipeline.config.shared.section import Section


class TrainHeadConfig(Section):
    """The MLP head and the staged schedule over cached features that it is trained on."""

    schedule: Schedule = Field(description="phases in order, `<variant> x <epochs>`")
    hidden: list[Annotated[int, Field(ge=1)]] = Field(description="widths of the hidden layers; empty is a linear head")
    dropout: float = Field(ge=0, lt=1, description="dropout before every layer after the first")
    input_dropout: float = Field(ge=0, lt=1, description="dropout of the standardised features")
    optimizer: Literal["adamw", "sgd"] = Field(description="AdamW, or SGD with momentum 0.9, which onecycle cycles")
    lr: float = Field(gt=0, description="peak learning rate")
    lr_schedule: Literal["constant", "cosine", "onecycle"] = Field(description="learning rate over all phases")
    weight_decay: float = Field(ge=0, description="weight decay")
    ema: float = Field(ge=0, lt=1, description="decay a step of the averaged weights, which are kept; 0: no average")
    label_smoothing: float = Field(ge=0, lt=1, description="label smoothing")
    gan_filter: float = Field(
        ge=0, lt=1, description="GAN samples whose class a head trained without them finds less likely are dropped"
    )
    batch: int = Field(ge=1, description="rows a step")
    precision: Literal["float32", "bfloat16"] = Field(
        description="arithmetic of training; float32 is TF32 on a GPU; bfloat16 pays where there is AMX, not in `sweep`"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        description="where heads are trained, by `sweep` and `evaluate` too; `auto` takes a GPU where there is one"
    )
    seed: int = Field(ge=0, description="seed of initialisation, order and dropout")
