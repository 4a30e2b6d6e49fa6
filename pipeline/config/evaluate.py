"""Section `evaluate` of params.yaml."""

from pydantic import Field

from pipeline.params import Section


class EvaluateConfig(Section):
    """How the trained head is judged on the test split."""

    confidence: float = Field(gt=0.5, lt=1, description="level of the confidence intervals")
    worst: int = Field(ge=1, description="how many worst classes and confident mistakes are listed")
