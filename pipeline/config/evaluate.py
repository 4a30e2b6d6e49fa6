"""Section `evaluate` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.shared.section import Section

CorruptionName = Literal[
    "gaussian_noise", "shot_noise", "impulse_noise", "gaussian_blur", "brightness", "contrast", "pixelate", "jpeg"
]


class AttackConfig(Section):
    """One attack on the classifier."""

    eps: float = Field(gt=0, le=255, description="how far a value of 0..255 may move")
    steps: int = Field(ge=1, le=1000, description="steps of gradient ascent; 1 is FGSM")
    restarts: int = Field(ge=1, le=100, description="tries from other starts; an image holds if all of them fail")

    @property
    def name(self) -> str:
        """Such as `fgsm_eps_1` or `pgd_10_eps_0_5`."""
        method = "fgsm" if self.steps == 1 else f"pgd_{self.steps}"
        again = "" if self.restarts == 1 else f"_restarts_{self.restarts}"
        return f"{method}_eps_{self.eps:g}{again}".replace(".", "_")


class EvaluateConfig(Section):
    """How the trained head is judged on the test split."""

    confidence: float = Field(gt=0.5, lt=1, description="level of the confidence intervals")
    worst: int = Field(ge=1, description="how many worst classes and confident mistakes are listed")
    attacks: list[AttackConfig] = Field(description="attacks through backbone and head: eps, steps, restarts; or none")
    corruptions: list[CorruptionName] = Field(
        description="gaussian_noise, shot_noise, impulse_noise, gaussian_blur, brightness, contrast, pixelate, jpeg"
    )
    severities: list[Annotated[int, Field(ge=1, le=5)]] = Field(description="how strong they are, each 1 to 5")
    probe_images: int = Field(ge=1, description="how many test images are attacked and corrupted, drawn at random")
    near_duplicate: float = Field(
        gt=0, le=1, description="cosine of standardised features from which two images count as near duplicates"
    )
    worth_seeds: int = Field(
        ge=0, description="heads a set of variants, to see on val what each variant of the schedule is worth; 0: none"
    )
