"""Pictures for the page: which images to show, their siblings in every variant, and PNGs as data: URIs."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cache.layout import Array
from cache.records import UNAUGMENTED, ImageSet
from pipeline.config.shared.variants import GAN_PREFIX, variant_order

SIDES = (128, 96, 64, 48, 32)  # pixels
BUDGET_BYTES = 6_000_000  # of all pictures: noise compresses to nothing less, so count every byte
SPLITS = ("val", "train", "test")


@dataclass(frozen=True)
class GalleryRow:
    """One variant of each source image, as URIs; empty where there is no sibling."""

    variant: str
    pictures: tuple[str, ...]


@dataclass(frozen=True)
class Gallery:
    """Source images of one split, a column each, and what each variant made of them."""

    split: str
    classes: tuple[str, ...]
    rows: tuple[GalleryRow, ...]


def make_gallery(sets: Mapping[str, ImageSet], count: int, side: int) -> Gallery | None:
    """Samples of val, else train, else test, out of sets named <split> and <split>-<variant>; None without images."""
    split = next((name for name in SPLITS if name in sets and len(sets[name])), None)
    if split is None:
        return None
    source = sets[split]
    chosen = choose_rows(source, count)
    siblings = {name.removeprefix(f"{split}-"): images for name, images in sets.items() if name.startswith(f"{split}-")}
    variants = {name: images for name, images in siblings.items() if not name.startswith(GAN_PREFIX)}
    rows = [
        GalleryRow(variant, pictures_of(images, source.ids[chosen], side))
        for variant, images in sorted(
            {UNAUGMENTED: source, **variants}.items(), key=lambda item: variant_order(item[0])
        )
    ]
    return Gallery(split, tuple(source.classes[label] for label in source.labels[chosen]), tuple(rows))


def choose_rows(images: ImageSet, count: int) -> Array:
    """Row numbers: classes spread evenly over those that have images; each class's second only after every first."""
    by_class = np.argsort(images.labels, kind="stable")
    labels = images.labels[by_class]
    turn = np.arange(len(labels)) - np.searchsorted(labels, labels)  # 0 for a class's first image, and so on
    order = by_class[np.lexsort((labels, turn))]
    firsts = int((turn == 0).sum())
    if count >= firsts:
        return np.asarray(order[:count])
    return np.asarray(order[np.arange(count) * firsts // count])


def pictures_of(images: ImageSet, ids: Array, side: int) -> tuple[str, ...]:
    """The pictures of these ids, as URIs; empty for an id that the set lacks."""
    places = [np.flatnonzero(images.ids == one)[:1] for one in ids]
    return tuple(png_uri(images.images[place][0], side) if len(place) else "" for place in places)


def choose_side(pictures: int) -> int:
    """The longest side, in pixels, at which this many pictures keep the page small."""
    return next((side for side in SIDES if pictures * side * side * 3 * 4 / 3 <= BUDGET_BYTES), SIDES[-1])


def png_uri(pixels: Array, side: int) -> str:
    """uint8 [h, w, 3] as a data: URI of a PNG, shrunk so that no side is longer than `side`."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    picture.save(target, format="PNG")
    return "data:image/png;base64," + base64.b64encode(target.getvalue()).decode()


def count_pictures(sets: Sequence[str], samples: int, mistakes: int) -> int:
    """At most how many pictures a page shows of these sets."""
    most = max((sum(name == split or name.startswith(f"{split}-") for name in sets) for split in SPLITS), default=0)
    return most * samples + mistakes


def make_samples(sets: Mapping[str, ImageSet], count: int, side: int) -> list[tuple[str, list[str]]]:
    """Each of at most `count` classes with as many pictures of what a GAN made of it; empty without samples."""
    made = next((images for name, images in sets.items() if name.startswith(f"train-{GAN_PREFIX}")), None)
    if made is None:
        return []
    present = np.unique(made.labels)[:count]
    rows = [np.flatnonzero(made.labels == number)[:count] for number in present]
    pictures = [list(pictures_of(made, made.ids[index], side)) for index in rows]
    return [(made.classes[number], row) for number, row in zip(present, pictures, strict=True)]
