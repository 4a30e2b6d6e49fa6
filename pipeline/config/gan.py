"""Section `gan` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.shared.section import Section

OFF = "none"
Positive = Annotated[int, Field(ge=1)]


class WganConfig(Section):
    """Report 001's: a Wasserstein GAN a class, of linear layers, with clipped weights (Arjovsky et al., 2017)."""

    iterations: Positive = Field(description="steps of each generator")
    batch: int = Field(ge=2, description="images of a class a step")
    critic_steps: Positive = Field(description="steps of the critic for each of the generator")
    lr: float = Field(gt=0, description="learning rate of RMSprop")
    clip: float = Field(gt=0, description="largest weight of the critic")
    latent: Positive = Field(description="numbers that a sample is made from")
    hidden: list[Positive] = Field(min_length=1, description="widths of the generator's hidden layers")
    critic_hidden: list[Positive] = Field(min_length=1, description="widths of the critic's")
    classes_at_once: Positive = Field(description="classes whose networks are trained together")


class ConvGanConfig(Section):
    """One convolutional network over all classes: projection critic, spectral norms, differentiable augmentation."""

    iterations: Positive
    batch: int = Field(ge=2, description="images a step")
    critic_steps: Positive
    lr: float = Field(gt=0, description="learning rate of the generator's Adam")
    critic_lr: float = Field(gt=0, description="of the critic's")
    latent: Positive
    width: Positive = Field(description="channels at full size; each halving doubles them, up to eight times")
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(description="decay a step of the generator that samples come from")
    augment: bool = Field(description="real and made images alike, before the critic (Zhao et al., NeurIPS 2020)")


class GanConfig(Section):
    """A generator trained on training images alone, and samples of it as the variant gan_1."""

    kind: Literal["none", "wgan", "conv"] = Field(description="`wgan`: report 001's, one a class; `conv`: one for all")
    size: Literal[8, 16, 32, 64] = Field(description="side of the networks' images; samples become prepare.size")
    samples: Positive = Field(description="samples of each class")
    failed: Literal["drop", "stop"] = Field(description="a class that collapses or diverges: no samples, or an error")
    seed: int = Field(ge=0, description="seed of weights, batches, noise and augmentation")
    device: Literal["auto", "cpu", "cuda"] = Field(description="`auto` takes a GPU where there is one")
    checkpoint_seconds: float = Field(ge=0, description="how often the state is kept; a killed run loses at most that")
    wgan: WganConfig = Field(description="what `kind: wgan` is made by")
    conv: ConvGanConfig = Field(description="what `kind: conv` is made by")
