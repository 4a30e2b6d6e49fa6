"""Section `train_head` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.config.shared.schedule import ALL, Phase, Schedule
from pipeline.config.shared.section import Section

Widths = list[Annotated[int, Field(ge=1)]]


class TrainHeadConfig(Section):
    """The head over cached features: chosen by evidence as far as values are `auto`, else trained as named.

    A named learning rate means a head that is trained on the staged schedule. With `lr: auto`, linear heads are solved
    exactly, and MLPs are trained on the schedule at several rates.
    """

    schedule: Schedule = Field(description="phases in order, `<variant> x <epochs>`")
    hidden: Widths | Literal["auto"] = Field(
        description="widths of the hidden layers; empty is a linear head; `auto`: a linear head or one hidden layer"
    )
    dropout: float = Field(ge=0, lt=1, description="dropout before every layer after the first")
    input_dropout: float = Field(ge=0, lt=1, description="dropout of the standardised features")
    optimizer: Literal["adamw", "sgd"] = Field(description="AdamW, or SGD with momentum 0.9, which onecycle cycles")
    lr: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        description="peak learning rate; `auto`: chosen, and linear heads are solved exactly instead"
    )
    lr_schedule: Literal["constant", "cosine", "onecycle"] = Field(description="learning rate over all phases")
    weight_decay: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        description="weight decay of the schedule's optimizer, or `auto`"
    )
    budget: float = Field(
        gt=0,
        description="seconds that choosing may take on two ordinary cores, counted in arithmetic, so that the choice "
        "does not depend on the machine; fewer folds and candidates where they would not fit",
    )
    ema: float = Field(ge=0, lt=1, description="decay per step of the averaged weights, which are kept; 0: no average")
    label_smoothing: float = Field(ge=0, lt=1, description="label smoothing")
    gan_filter: float = Field(
        ge=0,
        lt=1,
        description="drop GAN samples to whose class a head trained without them gives less probability than this",
    )
    batch: int = Field(ge=1, description="rows per step")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        description="arithmetic of training; `auto`: bfloat16 on a processor that has instructions for it, else "
        "float32, which is TF32 on a GPU"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        description="where heads are trained, by `sweep` and `evaluate` too; `auto` takes a GPU if there is one"
    )
    seed: int = Field(ge=0, description="seed of initialisation, order and dropout")

    @field_validator("schedule")
    @classmethod
    def _one_variant_each(cls, schedule: list[Phase]) -> list[Phase]:
        if any(len(phase.variants) > 1 or phase.variant == ALL or phase.images for phase in schedule):
            raise ValueError("a head is trained on one variant per phase; train_model mixes them")
        return schedule
