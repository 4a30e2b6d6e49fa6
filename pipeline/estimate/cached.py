"""What earlier runs have left that a run with these values would take over."""

from collections.abc import Collection, Mapping

import numpy as np

from cache.parts import PartStore, store_folder
from cache.records import ImageSet
from pipeline.augmentation.policy import make_augmentation
from pipeline.config.augment import AugmentConfig
from pipeline.features.featurizer import Featurizer


def kept_images(
    config: AugmentConfig, prepared: Mapping[str, ImageSet], augmented: Mapping[str, ImageSet]
) -> dict[str, int]:
    """Rows of each augmented file `<split>-<variant>` that the same recipe made from the same images."""
    counts = {}
    for variant in config.variants:
        recipe = make_augmentation(config, variant).recipe
        for split, images in prepared.items():
            old = augmented.get(f"{split}-{variant}")
            if old is not None and old.recipe == recipe:
                counts[f"{split}-{variant}"] = int(np.isin(images.ids, old.ids).sum())
    return counts


def kept_features(featurizer: Featurizer, sets: Collection[ImageSet]) -> int:
    """Rows of these sets whose features the store holds."""
    index = PartStore(store_folder() / "features", featurizer.recipe).open()
    return sum(len(images) - len(index.missing(images.keys())) for images in sets)


def sets_of(
    prepared: Mapping[str, ImageSet], augmented: Mapping[str, ImageSet], current: Mapping[str, int]
) -> list[ImageSet]:
    """The sets whose pixels are already those that featurize would see."""
    return [*prepared.values(), *(images for name, images in augmented.items() if current.get(name) == len(images))]
