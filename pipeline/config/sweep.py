"""Section `sweep` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.shared.section import Section

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class SweepConfig(Section):
    """A grid of heads, trained in one pass; all else (schedule, optimizer, batch) is as in `train_head`."""

    hidden: list[list[Annotated[int, Field(ge=1)]]] = Field(min_length=1, description="widths of hidden layers to try")
    lr: list[Positive] = Field(min_length=1, description="peak learning rates to try")
    weight_decay: list[Weight] = Field(min_length=1, description="weight decays to try")
    dropout: list[Share] = Field(min_length=1, description="dropouts to try, before every layer after the first")
    label_smoothing: list[Share] = Field(min_length=1, description="label smoothings to try")
    mixup: list[Weight] = Field(min_length=1, description="alphas of mixup in feature space to try; 0: none")
    keep: float = Field(gt=0, le=1, description="share of heads that goes on after each phase; 1 drops none")
    seeds: int = Field(ge=1, description="how many initialisations of the best head, for mean and spread")
    folds: int = Field(ge=0, description="k of k-fold cross-validation of the best head on train; 0: none")
    variants: Literal["none", "leave_one_out", "subsets"] = Field(
        description="which sets of variants to train the best head on, to see what each is worth"
    )
