"""Section `search` of params.yaml."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.config.augment import Step
from pipeline.config.shared.section import Section


class SearchConfig(Section):
    """Which policies to try, and on how many images."""

    images_per_class: int = Field(ge=4, description="training images per class that policies are tried on, at most")
    folds: int = Field(ge=2, description="k of k-fold cross-validation of these images")
    draws: int = Field(ge=1, description="draws of a policy that are tried")
    kept_draws: int = Field(ge=1, description="augmented variants to write, spread over the policies that paid")
    seed: int = Field(ge=0, description="seed of the choice of images, of folds and of draws")
    policies: dict[str, dict[str, list[Step]]] = Field(
        min_length=1,
        description="steps to try by kind and strength, such as `turn` and `mild`, in lower case; "
        "at most one strength of a kind is kept",
    )

    @model_validator(mode="after")
    def _steps_are_named_once(self) -> Self:
        for kind, strengths in self.policies.items():
            if any(len(step) != 1 for steps in strengths.values() for step in steps):
                raise ValueError(f"each step of policy {kind!r} must be one `Name: {{arguments}}`")
        return self
