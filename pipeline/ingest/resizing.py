"""How images were brought to the size that they are stored at."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cache.layout import Array
from pipeline.config.prepare import PrepareConfig
from pipeline.config.shared.featurize import SMALL_SIZE

PHOTO = 2  # times the stored size: images of more pixels lose what a backbone for larger ones would see


@dataclass(frozen=True)
class Resizing:
    """How images were brought to the size that they are stored at, in pixels.

    count, smallest: of those that were smaller. median: of the sides of all. For images that are not square it is the
    side that the fit brings to the stored size.
    """

    count: int
    smallest: int
    median: int
    size: int

    @classmethod
    def of(cls, sides: Array, config: PrepareConfig) -> "Resizing":
        """sides int [n, 2]: of the images as they were. By a crop the shorter one is brought to the stored size."""
        size = config.size
        resized = sides.min(axis=1) if config.fit == "crop" else sides.max(axis=1)
        small = resized[resized < size]
        median = int(np.median(resized)) if len(resized) else size
        return cls(len(small), int(small.min(initial=size)), median, size)

    def lines(self) -> Iterator[str]:
        """What a user is told: images that were enlarged, and photos of which a small backbone sees little."""
        if self.count:
            counted = "1 image is" if self.count == 1 else f"{self.count:,} images are"
            yield (
                f"{counted} ENLARGED to prepare.size, {self.size} px; the smallest has "
                f"{self.smallest} px. To store fewer pixels, set prepare.size, and featurize.size for a faster backbone"
            )
        if self.size <= SMALL_SIZE and self.median > PHOTO * self.size:
            yield (
                f"half of the images have {self.median:,} px or more, and are stored at {self.size} px. A backbone for "
                "larger images tells them apart better: python -m stages.start looks at them and names one"
            )
