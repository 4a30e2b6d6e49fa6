"""Any network of timm by name, without its classifier."""

import sys
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cache.errors import InputError, ParamsError
from pipeline.config.shared.timm_names import current_name, pretrained_config
from pipeline.runtime.seeds import torch_seeded

# What timm's networks raise for options and inputs that they do not take.
REFUSALS = (TypeError, AssertionError, ValueError, RuntimeError, IndexError, AttributeError, KeyError)
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]  # mean, std of RGB inputs in [0, 1]


def make_timm(name: str, size: int, seed: int) -> nn.Module:
    """The network of this name, with random weights and without a classifier, for images of `size` pixels.

    Raises ParamsError if it cannot take such images, or if its output is not one row per image.
    """
    name = current_name(name)
    config = pretrained_config(name)
    native = int(config.input_size[-1])
    options: dict[str, Any] = {"img_size": size} if config.fixed_input_size and size != native else {}
    try:
        with torch_seeded(seed, name), warnings.catch_warnings(action="ignore"):
            import timm

            network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **options)
    except REFUSALS as error:
        if not options:
            raise
        raise _wrong_size(name, size, native, error) from error
    _check_output(network, name, size, native)
    return network


def _check_output(network: nn.Module, name: str, size: int, native: int) -> None:
    """Raise ParamsError unless the network turns an image of this size into one row of features."""
    try:
        with torch.inference_mode(), warnings.catch_warnings(action="ignore"):
            features = network.eval()(torch.zeros(1, 3, size, size))
    except REFUSALS as error:
        raise _wrong_size(name, size, native, error) from error
    if not isinstance(features, Tensor) or features.ndim != 2:
        actual = f"shape {tuple(features.shape)}" if isinstance(features, Tensor) else type(features).__name__
        what = f"{name} does not give one row of features per image"
        raise ParamsError(what, where="params.yaml featurize.backbone", expected="shape (1, d)", found=actual)


def _wrong_size(name: str, size: int, native: int, error: Exception) -> ParamsError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    remedy = f"({reason}) Set featurize.size to auto, its own size."
    what = f"{name} cannot take images of this size"
    return ParamsError(what, where="params.yaml featurize.size", expected=native, found=size, remedy=remedy)


def timm_normalisation(name: str, pretrained: bool) -> Normalisation | None:
    """What a model's weights expect; None for a file of a name without a tag whose published weights disagree."""
    import timm

    name = current_name(name)
    names = [name] if "." in name or pretrained else [name, *timm.list_pretrained(f"{name}.*")]
    configs: list[Any] = [timm.get_pretrained_cfg(tagged) for tagged in names]
    values = {(tuple(config.mean), tuple(config.std)) for config in configs}
    return values.pop() if len(values) == 1 else None


def without_classifier(tensors: Mapping[str, Tensor], network: nn.Module, name: str) -> dict[str, Tensor]:
    """The tensors except those of the classifier, distilled heads included: what the whole network has beyond this."""
    own = set(network.state_dict())
    if set(tensors) <= own:
        return dict(tensors)
    dropped = _classifier_names(current_name(name)) - own
    return {key: value for key, value in tensors.items() if key not in dropped}


def _classifier_names(name: str) -> set[str]:
    """Names of all tensors of the network with its classifier."""
    import timm

    with torch.device("meta"), warnings.catch_warnings(action="ignore"):
        try:
            return set(timm.create_model(name, pretrained=False).state_dict())
        except (NotImplementedError, RuntimeError):  # what needs values to be made
            pass
    return set(timm.create_model(name, pretrained=False).state_dict())


def converted(tensors: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The tensors of an original release, or of another image size, as timm's own loader translates them."""
    translate = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if translate is None:
        return dict(tensors)
    try:
        with warnings.catch_warnings(action="ignore"):
            return dict(translate(dict(tensors), network))
    except REFUSALS:  # a file of something else, which the comparison of names will say
        return dict(tensors)


def pretrained_location(name: str) -> tuple[str, str | None]:
    """The hub's repository with a name's weights, and the revision if timm pins one. Raises InputError without one."""
    config = pretrained_config(name)
    if not config.hf_hub_id:
        remedy = f"Download {config.url} and give its path." if config.url else "Set random, or give a file's path."
        raise InputError("the Hugging Face hub has no weights of this name", where=f"timm:{name}", remedy=remedy)
    repository, _, revision = str(config.hf_hub_id).partition("@")
    return repository, revision or None
