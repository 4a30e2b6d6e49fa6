"""Section `train_head` of params.yaml."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from pipeline.params import Section

PHASE = re.compile(r"(?P<variant>[a-z][a-z0-9_]*) x (?P<epochs>[1-9][0-9]*)")


@dataclass(frozen=True)
class Phase:
    """Train `epochs` epochs on one variant."""

    variant: str
    epochs: int

    def __str__(self) -> str:
        return f"{self.variant} x {self.epochs}"


def _read_phase(value: Any) -> Phase:
    if isinstance(value, Phase):
        return value
    match = PHASE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("a phase is `<variant> x <epochs>`, such as `spatial_1 x 2`")
    return Phase(match["variant"], int(match["epochs"]))


PhaseField = Annotated[Phase, BeforeValidator(_read_phase), PlainSerializer(str)]
Schedule = Annotated[list[PhaseField], Field(min_length=1)]


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
    batch: int = Field(ge=1, description="rows a step")
    seed: int = Field(ge=0, description="seed of initialisation, order and dropout")
