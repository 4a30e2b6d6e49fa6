"""Section `train_model` of params.yaml."""

from typing import Any, Literal

from pydantic import Field

from pipeline.config.shared.section import Section

OFF = "none"


class TrainModelConfig(Section):
    """A full model over the cached images, by a named recipe. Where there is one, it is what evaluate judges."""

    recipe: str = Field(description="a file of pipeline/recipes, such as `002-v2-20-standard`; `none`: no full model")
    override: dict[str, Any] = Field(
        description="values in place of the recipe's, such as `{schedule: [unaugmented x 9]}`"
    )
    seeds: int = Field(ge=1, le=100, description="trainings; the first is kept, and metrics give mean and spread")
    seed: int = Field(ge=0, description="seed of the first; order, augmentation and initialisation follow from it")
    device: Literal["auto", "cpu", "cuda"] = Field(description="`auto` takes a GPU where there is one")
    engine: Literal["eager", "compile"] = Field(description="`eager`, or `compile`: torch.compile")
    memory_gb: float = Field(gt=0, description="larger sets of images are streamed from disk instead of kept in memory")
    checkpoint_seconds: float = Field(ge=0, description="how often the state is kept; a killed run loses at most that")
    tensorboard: str | None = Field(description="folder for TensorBoard's curves, with the extra `tensorboard`")
