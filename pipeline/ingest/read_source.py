"""Read a source of labelled images: list it, place it, then decode what is wanted into a file of pixels.

The source is walked twice. The first walk only names files, so a wrong layout, a missing split or a full disk is
found before any work; the second decodes, in threads (Pillow lets go of the interpreter), each image into its own
place in one file on disk. A packed tar archive is unpacked once: the second walk reads what the first one unpacked.
A folder is instead decoded in tasks if it makes a large set, or by a cluster. Memory holds names, ids and labels, and a
bounded number of images in flight.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from cache.files import check_space
from cache.layout import hex_keys
from cache.parts import PartStore
from pipeline.config.prepare import PrepareConfig
from pipeline.ingest.choose_files import choose_files, hash_files
from pipeline.ingest.class_groups import plan_groups
from pipeline.ingest.decode import DecodeOptions, recipe_of
from pipeline.ingest.decode_tasks import FolderFiles, decode_in_tasks
from pipeline.ingest.layouts import Layout
from pipeline.ingest.listing import list_source
from pipeline.ingest.passed_over import find_passed_over
from pipeline.ingest.pixel_file import SQUARE, DecodedSource, Decoding
from pipeline.ingest.place import corrected, place
from pipeline.ingest.resizing import Resizing
from pipeline.ingest.source import Source
from pipeline.ingest.steady_split import FormerImages
from pipeline.runtime.progress import Progress
from pipeline.runtime.workers import Pool


def ingest(config: PrepareConfig, scratch: Path, progress: Progress) -> Source:
    """Read the images of train, and of the official splits that are wanted, into a file of pixels in `scratch`.

    Raises InputError if the source cannot be used, StorageError if the disk refuses.
    """
    spool = scratch / "unpacked.tar"
    with progress(0, "file", "list"):
        listing = list_source(config.source, spool)
    walked = str(spool) if spool.exists() else config.source
    layout, relabel = corrected(place(listing, config), listing, config)
    passed_over = find_passed_over(listing, layout)
    placed = len(layout.names)
    not_chosen = 0
    if config.duplicates == "keep":
        left_out = int(layout.dropped.sum())
        with progress(placed, "file", "choose") as advance:
            layout, moved = choose_files(layout, hash_files(walked, layout, advance), config)
        not_chosen = placed - left_out - len(layout.names)
        spelled = {listing.spelled(layout.prefix + name): split for name, split in moved.items()}
        relabel = replace(relabel, moved=spelled)
    files = FolderFiles.of(config.source, layout, listing)
    decoded = _decode(walked, layout, files, config, scratch, progress)
    spool.unlink(missing_ok=True)
    stays = ~layout.dropped[decoded.slots]
    kept = decoded.slots[stays]
    former, dropped = _former_images(layout, decoded)
    lost = np.flatnonzero(~layout.dropped)
    lost = lost[~np.isin(lost, kept)]
    return Source(
        images=decoded.rows if stays.all() else decoded.rows.take(np.flatnonzero(stays)),
        names=[layout.names[row] for row in kept],
        paths=[listing.spelled(layout.prefix + layout.names[row]) for row in kept],
        ids=hex_keys(decoded.rows.digests[stays]),
        labels=layout.labels[kept],
        held=layout.held[kept],
        classes=layout.classes,
        lost=np.bincount(layout.labels[lost], minlength=len(layout.classes)),
        unreadable=dict(sorted((layout.unplaced | _unreadable(layout, decoded)).items())),
        ignored=dict(sorted(listing.ignored.items())),
        passed_over=passed_over,
        not_chosen=not_chosen,
        resizing=Resizing.of(decoded.sides[kept], config),
        recipe=recipe_of(config),
        new_parts=decoded.new_parts,
        relabel=relabel,
        fit=config.fit,
        elongated=int((decoded.sides[kept].max(axis=1) > SQUARE * decoded.sides[kept].min(axis=1)).sum()),
        former=former,
        dropped=dropped,
    )


def _former_images(layout: Layout, decoded: DecodedSource) -> tuple[FormerImages | None, FormerImages | None]:
    """Images that could be read as they were before corrections: those that stay, and those that are left out."""
    if layout.uncorrected is None:
        return None, None
    slots = decoded.slots
    former = FormerImages(hex_keys(decoded.rows.digests), layout.uncorrected.labels[slots], layout.held[slots])
    dropped = layout.dropped[slots]
    return former.take(np.flatnonzero(~dropped)), former.take(np.flatnonzero(dropped))


def _unreadable(layout: Layout, decoded: DecodedSource) -> dict[str, str]:
    """Without those that a person leaves out."""
    dropped = {layout.names[row] for row in np.flatnonzero(layout.dropped)}
    return {name: reason for name, reason in decoded.unreadable.items() if name not in dropped}


def _decode(
    walked: str, layout: Layout, files: FolderFiles | None, config: PrepareConfig, scratch: Path, progress: Progress
) -> DecodedSource:
    """Decode in tasks if a cluster does it, or if tasks can write part files of a large set; else in one pass."""
    count = len(layout.names)
    groups = plan_groups(layout, config)
    options = DecodeOptions.of(config)
    in_tasks = files is not None and (config.scheduler or any(group.training for group in groups))
    linked = sum(group.training for group in groups) if in_tasks else 0
    check_space(scratch, (2 * count - linked) * config.size**2 * 3)  # decoded images, and sets that copy them
    with progress(count, "image", "decode") as advance:
        if files is None or not in_tasks:
            return Decoding(scratch / "pixels", config.size, advance, options).run(walked, layout)
        store = PartStore(scratch / "decoded", recipe_of(config))
        tasks = [files.task(group, config.size, options, store) for group in groups]
        with Pool(1, config.scheduler) as pool:
            return decode_in_tasks(tasks, pool, advance)
