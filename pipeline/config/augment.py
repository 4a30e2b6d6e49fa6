"""Section `augment` of params.yaml."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline.config.shared.section import Section, Workers
from pipeline.config.shared.variants import policy_and_draw

Step = dict[str, dict[str, Any]]
Engine = Literal["imgaug", "fused"]


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
    keep: Literal["auto", "pixels", "nothing"] = Field(
        description="`pixels` (drawn once, kept on disk) or `nothing` (drawn again, alike, whenever they are read); "
        "`auto`: nothing if only heads are trained, else what is estimated to be faster and fits the disk"
    )
    size: int = Field(ge=8, le=1024, description="stored side of augmented images in pixels; `auto`: featurize.size")
    seed: int = Field(ge=0, description="seed of every draw")
    engine: Literal["auto"] | Engine = Field(
        description="`imgaug` (the reference), `fused` (the same steps in one warp and one pass over pixels); "
        "`auto`: fused if it knows every step of a policy, else imgaug"
    )
    workers: Workers = Field(description="processes, or `auto` for one per core; more than one only if that pays")
    rows_per_task: int = Field(ge=1, description="images per task; a killed run loses at most the tasks in flight")
    scheduler: str | None = Field(description="address of a running dask scheduler, tcp://host:port, or null")
    policies: dict[str, list[Step]] = Field(
        description="policies by name: imgaug's augmenters in order, `Name: {arguments}`; `[low, high]` is a range, "
        "`{choice: [...]}` a choice, `{top:, right:, bottom:, left:}` one value per side"
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
            if any("Fused" in step for step in steps):
                raise ValueError(
                    f"policy {policy!r} has a step `Fused`, which augment.engine replaces; name the policy that it "
                    "fuses instead, and set augment.engine to auto or fused"
                )
        return self
