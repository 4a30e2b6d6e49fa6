"""The page of a comparison."""

from collections.abc import Sequence

import numpy as np

from cache.records import ImageSet
from pipeline.metrics.compare import ChangedImage, Comparison
from pipeline.report.gallery import choose_side, pictures_of
from pipeline.report.html import render_page

SHOWN = 24  # images that changed side, of each kind, with their pictures


def render_comparison(found: Sequence[Comparison], names: tuple[str, str], images: ImageSet | None) -> str:
    """One self-contained page. images: those that were judged, for pictures; None or others give none."""
    clean = found[0]
    shown = {
        "lost": [one for one in clean.images if not one.gained][:SHOWN],
        "gained": [one for one in clean.images if one.gained][:SHOWN],
    }
    side = choose_side(sum(map(len, shown.values())))
    pictures = {kind: _pictures(changed, images, side) for kind, changed in shown.items()}
    values = {"found": found, "clean": clean, "before": names[0], "after": names[1], "pictures": pictures}
    return render_page("compare.html.jinja", f"{names[1]} against {names[0]}", values)


def _pictures(changed: Sequence[ChangedImage], images: ImageSet | None, side: int) -> list[tuple[ChangedImage, str]]:
    if images is None or not changed:
        return [(one, "") for one in changed]
    ids = np.array([one.id.encode() for one in changed], dtype="S64")
    return list(zip(changed, pictures_of(images, ids, side), strict=True))
