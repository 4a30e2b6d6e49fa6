"""Section `augment` of params.yaml."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from pipeline.config.shared.section import Section, Workers
from pipeline.config.shared.variants import policy_and_draw

FUSED = "Fused"
Step = dict[str, dict[str, Any]]


def fuses(steps: list[Step]) -> str | None:
    """The policy that `- Fused: {policy: <name>}` stands for; None where these are steps of imgaug."""
    return steps[0][FUSED].get("policy") if steps and FUSED in steps[0] else None


def _well_formed(variants: list[str]) -> list[str]:
    for variant in variants:
        policy_and_draw(variant)
    if len(set(variants)) != len(variants):
        raise ValueError("variants are repeated")
    return variants


class AugmentConfig(Section):
    """Which augmented variants to build, and the policies that they draw from."""

    variants: Annotated[list[str], AfterValidator(_well_formed)] = Field(
        description="variants to build, `<policy>_<draw>`"
    )
    size: int = Field(ge=8, le=1024, description="stored side of augmented images in pixels; `auto`: featurize.size")
    seed: int = Field(ge=0, description="seed of every draw")
    workers: Workers = Field(description="processes, or `auto` for one a core")
    rows_per_task: int = Field(ge=1, description="images a task; a killed run loses at most the tasks in flight")
    scheduler: str | None = Field(description="address of a running dask scheduler, tcp://host:port, or null")
    policies: dict[str, list[Step]] = Field(
        description="policies by name: imgaug steps in order, `Name: {arguments}`, or `Fused: {policy: <name>}`"
    )

    @model_validator(mode="after")
    def _policies_exist(self) -> "AugmentConfig":
        for variant in self.variants:
            policy, _ = policy_and_draw(variant)
            if policy not in self.policies:
                known = ", ".join(sorted(self.policies))
                raise ValueError(f"variant {variant!r} names no policy; expected one of {known}, found {policy!r}")
        for policy, steps in self.policies.items():
            if any(len(step) != 1 for step in steps):
                raise ValueError(f"each step of policy {policy!r} must be one `Name: {{arguments}}`")
            whole = [name for name, others in self.policies.items() if not any(FUSED in step for step in others)]
            if policy not in whole and steps not in [[{FUSED: {"policy": name}}] for name in whole]:
                names = ", ".join(whole)
                raise ValueError(
                    f"policy {policy!r} must be one step `{FUSED}: {{policy: <name>}}` of {names}, found {steps!r}"
                )
        return self
