"""What a person should look at and may correct: as pictures on the page, and as a table for `stages.relabel`."""

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from cache.errors import DamagedFile
from cache.layout import Array
from cache.records import ImageSet
from pipeline.config.shared.stages import EVALUATE
from pipeline.report.charts import Chart, Line, Tick, number, ticks
from pipeline.report.gallery import thumbnails_of
from pipeline.report.results import REMEDY, Row, RunResults

SHOWN = 24  # pictures of each kind on the page
LISTED = 1000  # mistakes in the table
HEAT = (220, 30, 30)  # of what the classifier looks at
FILE = "review.csv"


@dataclass(frozen=True)
class ReviewRow:
    """A row of review.csv. now: the image's class. label: the suggested one. action: for the person to fill in."""

    kind: str
    file: str
    split: str
    now: str
    label: str
    probability: str
    action: str
    note: str


@dataclass(frozen=True)
class Picture:
    """An image on the page with its file, class, suggestion, and two thumbnails at most."""

    row: Row
    thumbnails: tuple[str, ...]


def review_csv(results: RunResults) -> str:
    """The text of review.csv: suspected labels, mistakes, doubtful images and near duplicates that have a file.

    Images that a person has decided to keep are left out.
    """
    import csv

    kept = _kept(results)
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    names = [field.name for field in fields(ReviewRow)]
    writer.writerow(names)
    for row in _review_rows(results):
        if row.file and row.file not in kept:
            writer.writerow([getattr(row, name) for name in names])
    return target.getvalue()


def _kept(results: RunResults) -> set[str]:
    relabel = results.manifest.get("relabel", {})
    return set(relabel.get("kept", [])) if isinstance(relabel, Mapping) else set()


def _review_rows(results: RunResults) -> Iterator[ReviewRow]:
    for row in results.table(f"{EVALUATE}/suspects.csv"):
        yield _by_heads("suspected label", row)
    for row in _mistakes(results)[:LISTED]:
        classes = (row["actual"], row["predicted"])
        yield ReviewRow("mistake", row["path"], "test", *classes, row["probability"], "", "")
    for row in results.table(f"{EVALUATE}/doubtful.csv"):
        yield _by_heads("low confidence", row)
    for row in results.table(f"{EVALUATE}/near_duplicates.csv"):
        note = f"nearly the same as {row['train_path']} in train, class {row['train_class']}"
        yield ReviewRow("near duplicate", row["path"], row["split"], row["actual"], "", row["cosine"], "", note)


def _by_heads(kind: str, row: Row) -> ReviewRow:
    note = f"its own class has {number(row['label_probability']) or 0:.3f}"
    return ReviewRow(kind, row["path"], row["split"], row["label"], row["predicted"], row["probability"], "", note)


def _mistakes(results: RunResults) -> list[Row]:
    """Wrong predictions on test, the surest first."""
    rows = [row for row in results.table(f"{EVALUATE}/predictions.csv") if row["actual"] != row["predicted"]]
    return sorted(rows, key=lambda row: -(number(row["probability"]) or 0.0))


def suspects(results: RunResults, side: int) -> list[Picture]:
    """The images whose labels are suspected most, without those that a person keeps."""
    kept = _kept(results)
    rows = [row for row in results.table(f"{EVALUATE}/suspects.csv") if row["path"] not in kept]
    return pictures(results.images, rows[:SHOWN], side)


def doubtful(results: RunResults, side: int) -> list[Picture]:
    """The images that the heads are least sure of."""
    kept = _kept(results)
    rows = [row for row in results.table(f"{EVALUATE}/doubtful.csv") if row["path"] not in kept]
    return pictures(results.images, rows[: SHOWN // 2], side)


def pictures(sets: Mapping[str, ImageSet], rows: Sequence[Row], side: int) -> list[Picture]:
    """Each row with the thumbnail of its image, if there is one."""
    return [Picture(row, _thumbnail(sets, row["split"], row["id"], side)) for row in rows]


def _thumbnail(sets: Mapping[str, ImageSet], split: str, image_id: str, side: int) -> tuple[str, ...]:
    if split not in sets:
        return ()
    uri = thumbnails_of(sets[split], np.array([image_id.encode()], dtype="S64"), side)[0]
    return (uri,) if uri else ()


def learning_chart(results: RunResults) -> Chart | None:
    """Accuracy against images per class, on a logarithmic axis; None with fewer than two points."""
    rows = results.table(f"{EVALUATE}/learning_curve.csv")
    points = [(number(row["images_per_class"]), number(row["accuracy"])) for row in rows]
    known = [(count, accuracy) for count, accuracy in points if count and accuracy is not None]
    if len(known) < 2:
        return None
    axis = ticks(min(accuracy for _, accuracy in known), max(accuracy for _, accuracy in known))
    places = np.linspace(8, 92, len(known)).tolist()  # every point has twice the images of the one before
    span = axis[-1] - axis[0]
    heights = [100 * (axis[-1] - accuracy) / span for _, accuracy in known]
    path = " ".join(f"{'L' if n else 'M'}{x:.2f} {y:.2f}" for n, (x, y) in enumerate(zip(places, heights, strict=True)))
    ticks_x = tuple(Tick(f"{count:,.0f}", place) for (count, _), place in zip(known, places, strict=True))
    ticks_y = tuple(Tick(f"{100 * value:g} %", 100 * (value - axis[0]) / span) for value in axis)
    line = Line("accuracy on unseen images", path, f"{100 * known[-1][1]:.1f} %")
    return Chart("Accuracy by images per class", (line,), (), ticks_x, ticks_y)


def advice(results: RunResults) -> str:
    """Whether more photos would help, in words; empty if it is not known."""
    rows = results.table(f"{EVALUATE}/learning_curve.csv")
    if len(rows) < 2:
        return ""
    half, whole = (number(row["accuracy"]) or 0.0 for row in rows[-2:])
    gain = 100 * (whole - half)
    brought = f"The last doubling of images per class brought {gain:+.1f} points"
    if gain < 1:
        return f"{brought}: more photos of this kind help little."
    first = results.table(f"{EVALUATE}/learning_classes.csv")[:3]
    named = ", ".join(row["name"] for row in first if (number(row["gain"]) or 0) > 0)
    return f"{brought}, so more photos should help." + (f" Most was gained by {named}." if named else "")


def where_it_looks(results: RunResults, side: int) -> list[Picture]:
    """Images of test, plain and with a red veil over what the answer depends on."""
    try:
        maps = json.loads(results.texts.get(f"{EVALUATE}/occlusion.json", "[]"))
    except ValueError as error:
        raise DamagedFile("not JSON", where=f"{EVALUATE}/occlusion.json", remedy=REMEDY) from error
    test = results.images.get("test")
    return [Picture(own, _veiled(test, own, side)) for own in maps] if test is not None else []


def _veiled(test: ImageSet, own: Mapping[str, Any], side: int) -> tuple[str, ...]:
    rows = np.flatnonzero(test.ids == own["id"].encode())[:1]
    if not len(rows):
        return ()
    image = test.images[rows][0]
    return _jpeg_uri(image, side), _jpeg_uri(_veil(image, np.array(own["drops"], dtype=np.float32)), side)


def _veil(image: Array, drops: Array) -> Array:
    """The image uint8 [h, w, 3], red where covering it lowers the answer."""
    from PIL import Image

    strength = np.clip(drops, 0, None) / max(float(drops.max()), 1e-6)
    heat = Image.fromarray((255 * strength).astype(np.uint8)).resize(image.shape[1::-1], Image.Resampling.BICUBIC)
    share = 0.65 * np.asarray(heat, dtype=np.float32)[..., None] / 255
    return np.asarray((image * (1 - share) + np.array(HEAT) * share).astype(np.uint8))


def _jpeg_uri(pixels: Array, side: int) -> str:
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    image.save(target, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()
