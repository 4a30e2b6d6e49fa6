"""Section `evaluate` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.shared.section import Section

CorruptionName = Literal[
    "gaussian_noise", "shot_noise", "impulse_noise", "gaussian_blur", "brightness", "contrast", "pixelate", "jpeg"
]

ViewName = Literal["flip", "crops", "jitter", "affine"]  # of inference.tta.VIEWS


class AttackConfig(Section):
    """One attack on the classifier."""

    eps: float = Field(gt=0, le=255, description="largest change of a pixel value of 0..255")
    steps: int = Field(ge=1, le=1000, description="steps of gradient ascent; 1 is FGSM")
    restarts: int = Field(
        ge=1, le=100, description="how many random starts; an image counts as right only if it withstands all"
    )

    @property
    def name(self) -> str:
        """Such as `fgsm_eps_1` or `pgd_10_eps_0_5`."""
        method = "fgsm" if self.steps == 1 else f"pgd_{self.steps}"
        again = "" if self.restarts == 1 else f"_restarts_{self.restarts}"
        return f"{method}_eps_{self.eps:g}{again}".replace(".", "_")


class EvaluateConfig(Section):
    """How classifiers are evaluated on the test split, and which one is used."""

    classifier: Literal["best", "train_head", "train_model"] = Field(
        description="which one predict, export and metrics.json use: train_head, train_model, or the best on val"
    )
    views: Literal["none", "auto"] | Annotated[list[ViewName], Field(min_length=1)] = Field(
        description="test-time augmentation of evaluate, predict and export: the mean over an image and views of it, "
        "some of flip, crops, jitter, affine; `auto`: those that lower the loss on val; `none`"
    )
    confidence: float = Field(gt=0.5, lt=1, description="level of the confidence intervals")
    worst: int = Field(ge=1, description="how many confused pairs and confident mistakes are listed")
    attacks: list[AttackConfig] = Field(description="white-box attacks, each with eps, steps and restarts; [] for none")
    corruptions: list[CorruptionName] = Field(
        description="gaussian_noise, shot_noise, impulse_noise, gaussian_blur, brightness, contrast, pixelate, jpeg"
    )
    severities: list[Annotated[int, Field(ge=1, le=5)]] = Field(
        description="severities of the corruptions, each 1 to 5"
    )
    probe_images: int = Field(
        ge=1, description="number of test images that are attacked and corrupted, drawn at random"
    )
    near_duplicate: float = Field(
        gt=0,
        le=1,
        description="two images are near duplicates if the cosine of their standardised features is at least this",
    )
    worth_seeds: int = Field(
        ge=0, description="heads trained per set of variants to measure on val what each variant gains; 0 skips it"
    )
