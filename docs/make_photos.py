"""Make small photos to try things on: python docs/make_photos.py writes `photos/<class>/*.jpg` and `new/*.jpg`.

They are grey squares that do not overlap, cut out of pictures that are installed with scikit-image and scikit-learn.
Without colour, texture is what tells the classes apart.
"""

import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64  # pixels
LABELLED = 48  # squares per class that go into its folder
NEW = 6  # and into `new`
PICTURES = {
    "brick": ("scikit-image", "skimage/data/brick.png"),
    "coffee": ("scikit-image", "skimage/data/coffee.png"),
    "flower": ("scikit-learn", "sklearn/datasets/images/flower.jpg"),
    "grass": ("scikit-image", "skimage/data/grass.png"),
    "gravel": ("scikit-image", "skimage/data/gravel.png"),
    "temple": ("scikit-learn", "sklearn/datasets/images/china.jpg"),
}


def squares(name: str) -> Iterator[Image.Image]:
    """All squares of a class in an order that is always the same and mixes the parts of the picture."""
    package, file = PICTURES[name]
    picture = Image.open(Path(str(distribution(package).locate_file(file)))).convert("L")
    corners = [
        (x, y) for y in range(0, picture.height - SIDE + 1, SIDE) for x in range(0, picture.width - SIDE + 1, SIDE)
    ]
    for place in np.random.default_rng(0).permutation(len(corners)):
        left, top = corners[place]
        yield picture.crop((left, top, left + SIDE, top + SIDE))


def make_photos(folder: Path) -> str:
    """Write them; return what was written."""
    for name in PICTURES:
        for number, square in zip(range(LABELLED + NEW), squares(name), strict=False):
            path = folder / ("new" if number >= LABELLED else f"photos/{name}") / f"{name}_{number:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            square.save(path, quality=95)
    return f"{LABELLED * len(PICTURES)} photos in {len(PICTURES)} classes, and {NEW * len(PICTURES)} new ones"


if __name__ == "__main__":
    print(make_photos(Path(*sys.argv[1:2])))
