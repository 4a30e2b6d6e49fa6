"""Pooled outputs of inner layers in the same forward pass: what `featurize.layers` names.

Head2Toe (Evci et al., ICML 2022) shows what a head gains from them.
"""

import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cache.errors import ParamsError
from pipeline.config.shared.featurize import ALL, LAST, Layers

WHERE = "params.yaml featurize.layers"
Group = tuple[str, int]  # a layer's name, and how many features come from it


class _Outputs(threading.local):
    """Pooled outputs of the forward pass that a thread is in, by layer; a copy of a network has its own."""

    def __init__(self) -> None:
        self.by_name: dict[str, Tensor] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _Outputs, ()


@dataclass(frozen=True)
class _Keep:
    """A forward hook that keeps a layer's pooled output."""

    name: str
    outputs: _Outputs
    channels_last: bool

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4):
            raise ParamsError(f"{self.name} gives no map that can be pooled", where=WHERE, found=type(output).__name__)
        # at once, because networks may overwrite what they have used
        self.outputs.by_name[self.name] = _pooled(output, self.channels_last)


class LayerPooling(nn.Module):
    """A backbone whose features [k, d] are those of several layers side by side, in the order of `layers`.

    `last` is the backbone's own pooled output; any other name is a module's, of whose output the average and then the
    maximum over all places are taken. Calls from several threads do not disturb each other.
    """

    def __init__(self, network: nn.Module, layers: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.layers = layers
        self._pooled = _Outputs()
        channels_last = str(getattr(network, "output_fmt", "")) == "NHWC"
        for name in layers:
            if name != LAST:
                network.get_submodule(name).register_forward_hook(_Keep(name, self._pooled, channels_last))

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [k, 3, s, s] to features [k, d]."""
        self._pooled.by_name = {}
        self._pooled.by_name[LAST] = self.network(images)
        return torch.cat([self._pooled.by_name.pop(name) for name in self.layers], dim=1)

    def groups(self, size: int) -> tuple[Group, ...]:
        """Each layer's name and width, in the order of the features. Raises ParamsError for outputs of other forms."""
        with torch.inference_mode():
            self._pooled.by_name = {}
            self._pooled.by_name[LAST] = self.network.eval()(torch.zeros(1, 3, size, size))
        unused = [name for name in self.layers if name not in self._pooled.by_name]
        if unused:
            raise ParamsError("the forward pass does not use these layers", where=WHERE, found=", ".join(unused))
        return tuple((name, int(self._pooled.by_name[name].shape[1])) for name in self.layers)


def _pooled(output: Tensor, channels_last: bool) -> Tensor:
    """Average and maximum over places: [k, c, h, w], [k, h, w, c], [k, tokens, c] or [k, c] to [k, 2c]."""
    if output.ndim == 2:
        return torch.cat([output, output], dim=1)
    if output.ndim == 3:
        places: tuple[int, ...] = (1,)
    else:
        places = (1, 2) if channels_last else (2, 3)
    return torch.cat([output.mean(dim=places), output.amax(dim=places)], dim=1)


def with_layers(network: nn.Module, layers: Layers, size: int) -> tuple[nn.Module, tuple[Group, ...]]:
    """The network that gives the features of these layers, and their groups. `last` is the network as it is."""
    if layers == LAST:
        return network, ()
    blocks = block_names(network)
    names = (LAST, *blocks) if layers == ALL else tuple(layers)
    known = {name for name, _ in network.named_modules() if name}
    unknown = [name for name in names if name != LAST and name not in known]
    if unknown or len(set(names)) != len(names) or (layers == ALL and not blocks):
        expected = ", ".join([LAST, *blocks]) + ", or another module's name"
        what = "names of layers are unknown or repeated" if blocks else "this backbone does not say its blocks"
        raise ParamsError(what, where=WHERE, expected=expected, found=", ".join(unknown) or str(layers))
    pooling = LayerPooling(network, names)
    pooling.eval()  # or exporting would set its network to training
    return pooling, pooling.groups(size)


def block_names(network: nn.Module) -> tuple[str, ...]:
    """Names of a network's blocks in order: efficientnet-pytorch's, or those of the stages that timm lists."""
    inner = getattr(network, "network", None)
    if inner is not None and hasattr(inner, "_blocks"):
        return tuple(f"network._blocks.{index}" for index in range(len(inner._blocks)))
    listed: Any = getattr(network, "feature_info", None) or []
    stages = [str(entry["module"]) for entry in (listed if isinstance(listed, list) else listed.info)]
    names: dict[str, None] = {}
    for stage in stages:
        for name in _with_siblings(network, stage):
            names |= dict.fromkeys(_blocks_of(network, name))
    return tuple(names)


def _with_siblings(network: nn.Module, stage: str) -> list[str]:
    """A stage and those beside it in the same sequence: timm lists one stage per resolution only."""
    parent, _, _ = stage.rpartition(".")
    container = network.get_submodule(parent) if parent else None
    if not isinstance(container, nn.Sequential | nn.ModuleList):
        return [stage]
    kinds = {type(child) for child in container}
    return [f"{parent}.{name}" for name, _ in container.named_children()] if len(kinds) == 1 else [stage]


def _blocks_of(network: nn.Module, stage: str) -> list[str]:
    """The blocks of a stage, or the stage itself if it has none."""
    module = network.get_submodule(stage)
    inside = getattr(module, "blocks", None)
    container, name = (inside, f"{stage}.blocks") if isinstance(inside, nn.Sequential) else (module, stage)
    if not isinstance(container, nn.Sequential):
        return [stage]
    children = list(container.named_children())
    composite = all(any(True for _ in child.children()) for _, child in children)
    return [f"{name}.{child}" for child, _ in children] if children and composite else [stage]
