"""Which groups of features a linear head may use: those of the last layer, or those of all layers, weighed alike."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from cache.records import FeatureSet
from pipeline.config.shared.featurize import LAST
from pipeline.heads.logistic import LinearWeights
from pipeline.heads.sets import Standardizer
from pipeline.networks.head import Head

LAST_LAYER: Final = "last layer"
ALL_LAYERS: Final = "all layers"


@dataclass(frozen=True)
class FeatureSpace:
    """A selection of features. columns: int64 [k], their places among all. scale: float32 [k], what each is worth."""

    name: str
    columns: Tensor
    scale: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """The selection [n, k] of standardised features [n, d]; no copy if it is all of them as they are."""
        if len(self.columns) == features.shape[1] and bool((self.scale == 1).all()):
            return features  # columns are in order
        return features[:, self.columns.to(features.device)] * self.scale.to(features.device)

    def restore(self, weights: LinearWeights, width: int) -> LinearWeights:
        """The same head over all `width` features: those that it does not use get zeros."""
        full = torch.zeros(width, weights.weight.shape[1], device=weights.weight.device)
        full[self.columns.to(full.device)] = weights.weight * self.scale.to(full.device)[:, None]
        return LinearWeights(full, weights.bias)


def feature_spaces(recipe: Mapping[str, Any], width: int) -> list[FeatureSpace]:
    """The last layer alone, and all groups side by side, each scaled to the same total variance.

    recipe: of the features; `groups`, if it is there, has the name and width of each group. A wide layer would drown a
    narrow one without the scales.
    """
    columns = torch.arange(width)
    groups = group_columns(recipe)
    if not groups:
        return [FeatureSpace(LAST_LAYER, columns, torch.ones(width))]
    mean_width = width / len(groups)
    scales = torch.cat([torch.full((len(places),), (mean_width / len(places)) ** 0.5) for places in groups.values()])
    spaces = [FeatureSpace(ALL_LAYERS, columns, scales)]
    if LAST in groups:
        last = groups[LAST]
        spaces.insert(0, FeatureSpace(LAST_LAYER, last, torch.ones(len(last))))
    return spaces


def group_columns(recipe: Mapping[str, Any]) -> dict[str, Tensor]:
    """The places of each group's features, int64 [w], by the name of its layer; empty for features of one layer."""
    places = {}
    start = 0
    for name, width in recipe.get("groups", ()):
        places[str(name)] = torch.arange(start, start + int(width))
        start += int(width)
    return places


def last_layer_columns(recipe: Mapping[str, Any]) -> Tensor | None:
    """The places of the last layer's features among those of several layers; None if there is nothing to select."""
    return group_columns(recipe).get(LAST)


def narrowed(features: FeatureSet) -> FeatureSet:
    """The last layer's features alone, in memory, as featurize would have made them with `layers: last`."""
    columns = last_layer_columns(features.recipe)
    if columns is None:
        return features
    rows = features.features[:][:, columns.numpy()]
    return replace(features, features=rows, recipe=last_layer_recipe(features.recipe))


def last_layer_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Of the same backbone with features of the last layer alone."""
    kept = {key: value for key, value in recipe.items() if key != "groups"}
    return kept | {"layers": LAST}


def widened(head: Head, columns: Tensor, standardizer: Standardizer) -> Head:
    """A head over selected features as one over all of them: weights of the others are zero."""
    wide = Head([len(standardizer.mean), *head.widths[1:]], 0.0, 0.0)
    weights = head.state_dict()
    first = next(name for name in weights if name.endswith(".weight"))
    weight = torch.zeros(head.widths[1], len(standardizer.mean))
    weight[:, columns] = weights[first]
    selected = {"mean": standardizer.mean.cpu(), "deviation": standardizer.scale.cpu(), first: weight}
    wide.load_state_dict(weights | selected)
    return wide.eval()
