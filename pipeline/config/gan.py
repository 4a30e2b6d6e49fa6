"""Section `gan` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.shared.section import Section

OFF = "none"
Positive = Annotated[int, Field(ge=1)]


class WganConfig(Section):
    """Report 001's: one Wasserstein GAN per class, of linear layers, with clipped weights (Arjovsky et al., 2017)."""

    iterations: Positive = Field(description="steps of each generator")
    batch: int = Field(ge=2, description="images of each class per step")
    critic_steps: Positive = Field(description="steps of the critic per step of the generator")
    lr: float = Field(gt=0, description="learning rate of RMSprop")
    clip: float = Field(gt=0, description="largest weight of the critic")
    latent: Positive = Field(description="size of the noise vector that a sample is drawn from")
    hidden: list[Positive] = Field(min_length=1, description="widths of the generator's hidden layers")
    critic_hidden: list[Positive] = Field(min_length=1, description="widths of the critic's hidden layers")
    classes_at_once: Positive = Field(description="classes whose networks are trained together")


class ConvGanConfig(Section):
    """One convolutional network over all classes: projection critic, spectral norms, differentiable augmentation."""

    iterations: Positive
    batch: int = Field(ge=2, description="images per step")
    critic_steps: Positive
    lr: float = Field(gt=0, description="learning rate of the generator's Adam")
    critic_lr: float = Field(gt=0, description="learning rate of the critic's Adam")
    latent: Positive
    width: Positive = Field(description="channels at full size; each halving doubles them, up to eight times")
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="decay per step of the averaged generator, which draws the samples"
    )
    augment: bool = Field(description="augment what the critic sees, differentiably (Zhao et al., NeurIPS 2020)")


class GanConfig(Section):
    """A generator that is trained on training images only; its samples are the variant gan_1."""

    kind: Literal["none", "wgan", "conv"] = Field(
        description="`wgan`: report 001's, one per class; `conv`: one for all classes; `none`: off"
    )
    size: Literal[8, 16, 32, 64] = Field(description="side of the networks' images; samples become prepare.size")
    samples: Positive = Field(description="samples of each class")
    failed: Literal["drop", "stop"] = Field(
        description="if a class collapses or diverges: `drop` its samples, or `stop` with an error"
    )
    seed: int = Field(ge=0, description="seed of weights, batches, noise and augmentation")
    device: Literal["auto", "cpu", "cuda"] = Field(description="`auto` takes a GPU if there is one")
    checkpoint_seconds: float = Field(
        ge=0, description="seconds between checkpoints; a killed run loses at most that much work"
    )
    wgan: WganConfig = Field(description="settings of `kind: wgan`")
    conv: ConvGanConfig = Field(description="settings of `kind: conv`")
