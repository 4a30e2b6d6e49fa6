"""The page of a comparison."""

from collections.abc import Sequence

import numpy as np

from cache.records import ImageSet
from pipeline.metrics.compare import ChangedImage, Comparison
from pipeline.report.gallery import choose_side, thumbnails_of
from pipeline.report.html import render_page

SHOWN = 24  # images that were lost, and as many that were gained, with their thumbnails


def render_comparison(comparisons: Sequence[Comparison], names: tuple[str, str], images: ImageSet | None) -> str:
    """One self-contained page. images: the test images, for thumbnails; None if they are not there."""
    clean = comparisons[0]
    shown = {
        "lost": [image for image in clean.images if not image.gained][:SHOWN],
        "gained": [image for image in clean.images if image.gained][:SHOWN],
    }
    side = choose_side(sum(map(len, shown.values())))
    thumbnails = {kind: _with_thumbnails(changed, images, side) for kind, changed in shown.items()}
    before, after = names
    values = {
        "comparisons": comparisons,
        "clean": clean,
        "before": before,
        "after": after,
        "changed_images": thumbnails,
    }
    return render_page("compare.html.jinja", f"{after} against {before}", values)


def _with_thumbnails(
    changed: Sequence[ChangedImage], images: ImageSet | None, side: int
) -> list[tuple[ChangedImage, str]]:
    if images is None or not changed:
        return [(image, "") for image in changed]
    ids = np.array([image.id.encode() for image in changed], dtype="S64")
    return list(zip(changed, thumbnails_of(images, ids, side), strict=True))
