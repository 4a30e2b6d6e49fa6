"""Section `featurize` of params.yaml."""

from typing import Literal

from pydantic import Field

from pipeline.params import Section, Workers


class FeaturizeConfig(Section):
    """The frozen backbone and how its features are computed and kept."""

    backbone: str = Field(description="`efficientnet-mini`, `efficientnet-b0` … `b8`, or `timm:<name>`")
    weights: str = Field(description="`random` (seeded), or the path of a .safetensors or pickle-free .pth file")
    preprocessing: Literal["auto", "imagenet", "advprop"] = Field(
        description="what the weights expect: `imagenet` mean and std, `advprop` 2x-1; `auto` where it is known"
    )
    size: int = Field(ge=16, le=1024, description="side in pixels that images are resized to for the backbone")
    interpolation: Literal["bilinear", "bicubic"] = Field(description="how they are resized")
    engine: Literal["eager", "compile"] = Field(description="`eager`, or `compile`: torch.compile with frozen weights")
    precision: Literal["float32", "bfloat16"] = Field(description="arithmetic of the network")
    dtype: Literal["float16", "float32"] = Field(description="type of the stored features")
    batch: int = Field(ge=1, le=4096, description="compute batch; fixed, the last one padded")
    device: Literal["auto", "cpu", "cuda"] = Field(description="`auto` takes a GPU where there is one")
    workers: Workers = Field(description="processes; one already uses every core")
    rows_per_task: int = Field(ge=1, description="images a part; a killed run loses at most the parts in flight")
    scheduler: str | None = Field(description="address of a running dask scheduler, tcp://host:port, or null")
