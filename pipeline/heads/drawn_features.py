"""Features of images under a policy that is only tried: drawn in memory, featurized through the part store."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cache.records import FeatureSet, ImageSet
from pipeline.augmentation.policy import make_augmentation
from pipeline.config.augment import AugmentConfig, Step
from pipeline.config.shared.stages import SEARCH
from pipeline.features.featurizer import Featurizer, featurize
from pipeline.runtime.seeds import make_generator
from pipeline.runtime.workers import Pool

TRIED = "tried"  # the policy's name: a draw depends on the seed, this name and the image


@dataclass(frozen=True)
class DrawnFeatures:
    """images: what is augmented. augment: engine, size and seed of draws. advance: told of images."""

    images: ImageSet
    augment: AugmentConfig
    featurizer: Featurizer
    pool: Pool
    advance: Callable[[int], object]

    def unaugmented(self) -> FeatureSet:
        """Of the images as they are, in memory."""
        return self._features(self.images)

    def of_policy(self, steps: Sequence[Step], draws: int) -> list[FeatureSet]:
        """One set per draw. Raises ParamsError for steps that cannot run."""
        variants = [f"{TRIED}_{number}" for number in range(1, draws + 1)]
        config = self.augment.model_copy(update={"variants": variants, "policies": {TRIED: list(steps)}})
        return [self._features(self._drawn(config, variant)) for variant in variants]

    def _drawn(self, config: AugmentConfig, variant: str) -> ImageSet:
        augmentation = make_augmentation(config, variant)
        pixels = augmentation(self.images.images[:], self.images.ids)
        return replace(self.images, images=pixels, variant=variant, recipe=augmentation.recipe)

    def _features(self, images: ImageSet) -> FeatureSet:
        features, _ = featurize(images, self.featurizer, self.pool, self.advance)
        return replace(features, features=features.features[:])


def few_images(images: ImageSet, per_class: int, seed: int) -> ImageSet:
    """At most so many images of each class, in memory, chosen by their content."""
    order = np.array([make_generator(seed, SEARCH, key).random() for key in images.ids])
    places = [np.flatnonzero(images.labels == label) for label in range(len(images.classes))]
    chosen = [own[np.argsort(order[own], kind="stable")[:per_class]] for own in places]
    few = images.take(np.sort(np.concatenate(chosen)))
    return replace(few, images=few.images[:])
