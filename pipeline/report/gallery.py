"""Thumbnails for the page: which images to show, their siblings in every variant, and PNGs as data: URIs."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from cache.layout import Array
from cache.records import UNAUGMENTED, ImageSet
from pipeline.config.shared.variants import GAN_PREFIX, variant_order

SIDES = (128, 96, 64, 48, 32)  # pixels
BUDGET_BYTES = 6_000_000  # of all thumbnails: noise does not compress, so every byte is counted
SPLITS = ("val", "train", "test")  # in the order of preference


@dataclass(frozen=True)
class GalleryRow:
    """One variant of each source image, as URIs; empty if there is no sibling."""

    variant: str
    thumbnails: tuple[str, ...]


@dataclass(frozen=True)
class Gallery:
    """Source images of one split, one per column, and what each variant made of them. files: empty if unknown."""

    split: str
    classes: tuple[str, ...]
    files: tuple[str, ...]
    rows: tuple[GalleryRow, ...]


def make_gallery(
    sets: Mapping[str, ImageSet], count: int, side: int, files: Mapping[str, str] = MappingProxyType({})
) -> Gallery | None:
    """Samples of val, else train, else test, out of sets named <split> and <split>-<variant>; None without images.

    files: of images by their ids.
    """
    split = next((name for name in SPLITS if name in sets and len(sets[name])), None)
    if split is None:
        return None
    source = sets[split]
    chosen = choose_rows(source, count)
    siblings = {name.removeprefix(f"{split}-"): images for name, images in sets.items() if name.startswith(f"{split}-")}
    variants = {name: images for name, images in siblings.items() if not name.startswith(GAN_PREFIX)}
    shown = {UNAUGMENTED: source, **variants}
    rows = [
        GalleryRow(variant, thumbnails_of(shown[variant], source.ids[chosen], side))
        for variant in sorted(shown, key=variant_order)
    ]
    classes = tuple(source.classes[label] for label in source.labels[chosen])
    return Gallery(split, classes, tuple(files.get(own.decode(), "") for own in source.ids[chosen]), tuple(rows))


def choose_rows(images: ImageSet, count: int) -> Array:
    """Row numbers, spread evenly over the classes; a class has a second image only after every class has one."""
    by_class = np.argsort(images.labels, kind="stable")
    labels = images.labels[by_class]
    turn = np.arange(len(labels)) - np.searchsorted(labels, labels)  # 0 for a class's first image, and so on
    order = by_class[np.lexsort((labels, turn))]
    firsts = int((turn == 0).sum())
    if count >= firsts:
        return np.asarray(order[:count])
    return np.asarray(order[np.arange(count) * firsts // count])


def thumbnails_of(images: ImageSet, ids: Array, side: int) -> tuple[str, ...]:
    """The thumbnails of these ids, as URIs; empty for an id that the set lacks."""
    rows = [np.flatnonzero(images.ids == image_id)[:1] for image_id in ids]
    return tuple(png_uri(images.images[row][0], side) if len(row) else "" for row in rows)


def choose_side(thumbnails: int) -> int:
    """The longest side, in pixels, at which this many thumbnails keep the page small."""
    return next((side for side in SIDES if thumbnails * side * side * 3 * 4 / 3 <= BUDGET_BYTES), SIDES[-1])


def png_uri(pixels: Array, side: int) -> str:
    """uint8 [h, w, 3] as a data: URI of a PNG, shrunk so that no side is longer than `side`."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    image.save(target, format="PNG")
    return "data:image/png;base64," + base64.b64encode(target.getvalue()).decode()


def count_thumbnails(sets: Sequence[str], samples: int, others: int) -> int:
    """At most how many thumbnails a page shows: the gallery of these sets, and others."""
    most = max((sum(name == split or name.startswith(f"{split}-") for name in sets) for split in SPLITS), default=0)
    return most * samples + others


def make_samples(sets: Mapping[str, ImageSet], count: int, side: int) -> list[tuple[str, list[str]]]:
    """At most `count` classes, each with up to `count` thumbnails of its GAN samples; empty without samples."""
    samples = next((images for name, images in sets.items() if name.startswith(f"train-{GAN_PREFIX}")), None)
    if samples is None:
        return []
    present = np.unique(samples.labels)[:count]
    rows = [np.flatnonzero(samples.labels == number)[:count] for number in present]
    thumbnails = [list(thumbnails_of(samples, samples.ids[index], side)) for index in rows]
    return [(samples.classes[number], row) for number, row in zip(present, thumbnails, strict=True)]
