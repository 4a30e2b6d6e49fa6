"""What a person should look at, as pictures on the page: small JPEGs, so that there is room for many."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache.errors import DamagedFile
from cache.layout import Array
from cache.records import ImageSet
from pipeline.config.shared.stages import EVALUATE
from pipeline.report.results import REMEDY, Row, RunResults
from pipeline.report.review import open_suspects

SUSPECTS = 100  # on the page
DOUBTFUL = 24
SIDE = 128  # pixels, of the longer side at most; noise of that size takes 17 kB, so all of them stay below 2.5 MB
HEAT = (220, 30, 30)  # of what the classifier looks at


@dataclass(frozen=True)
class Picture:
    """An image on the page with its file, class, suggestion, and two thumbnails at most."""

    row: Row
    thumbnails: tuple[str, ...]


def suspects(results: RunResults) -> list[Picture]:
    """The images whose labels are suspected most, without those that a person keeps."""
    rows = open_suspects(results.table(f"{EVALUATE}/suspects.csv"), results.manifest)
    return _pictures(results.images, rows[:SUSPECTS])


def doubtful(results: RunResults) -> list[Picture]:
    """The images that the heads are least sure of, without those that a person keeps."""
    rows = open_suspects(results.table(f"{EVALUATE}/doubtful.csv"), results.manifest)
    return _pictures(results.images, rows[:DOUBTFUL])


def _pictures(sets: Mapping[str, ImageSet], rows: Sequence[Row]) -> list[Picture]:
    """Each row with the thumbnail of its image, if there is one."""
    return [Picture(row, _thumbnails(sets.get(row["split"]), row["id"])) for row in rows]


def _thumbnails(images: ImageSet | None, image_id: str) -> tuple[str, ...]:
    image = None if images is None else _image_of(images, image_id)
    return () if image is None else (_jpeg_uri(image),)


def where_it_looks(results: RunResults) -> list[Picture]:
    """Images of test, plain and with a red veil over what the answer depends on."""
    try:
        maps = json.loads(results.texts.get(f"{EVALUATE}/occlusion.json", "[]"))
    except ValueError as error:
        raise DamagedFile("not JSON", where=f"{EVALUATE}/occlusion.json", remedy=REMEDY) from error
    test = results.images.get("test")
    return [Picture(own, _veiled(test, own)) for own in maps] if test is not None else []


def _veiled(test: ImageSet, own: Mapping[str, Any]) -> tuple[str, ...]:
    image = _image_of(test, own["id"])
    if image is None:
        return ()
    return _jpeg_uri(image), _jpeg_uri(_veil(image, np.array(own["drops"], dtype=np.float32)))


def _image_of(images: ImageSet, image_id: str) -> Array | None:
    """The image uint8 [h, w, 3] of this id, if the set has it."""
    rows = np.flatnonzero(images.ids == image_id.encode())[:1]
    return images.images[rows][0] if len(rows) else None


def _veil(image: Array, drops: Array) -> Array:
    """The image uint8 [h, w, 3], red where covering it lowers the answer."""
    from PIL import Image

    strength = np.clip(drops, 0, None) / max(float(drops.max()), 1e-6)
    heat = Image.fromarray((255 * strength).astype(np.uint8)).resize(image.shape[1::-1], Image.Resampling.BICUBIC)
    share = 0.65 * np.asarray(heat, dtype=np.float32)[..., None] / 255
    return np.asarray((image * (1 - share) + np.array(HEAT) * share).astype(np.uint8))


def _jpeg_uri(pixels: Array) -> str:
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    image.save(target, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()
