"""The sets that prepare makes: written beside the outputs, then moved into their place."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from cache.lay_out import part_files
from cache.layout import Array, rows_per_part
from cache.parted import PartedRows, move_set, remove_other_sets
from cache.writer import write_images
from pipeline.ingest.class_groups import class_starts
from pipeline.ingest.source import Source
from pipeline.runtime.set_file import place_all
from pipeline.runtime.workers import Pool


def write_sets(
    folder: Path, source: Source, rows: Mapping[str, Array], pool: Pool, advance: Callable[[int], object]
) -> list[str]:
    """Write the rows of each split, `<split>.h5`; return the names of the files. Large sets are laid out in part files.

    A part file that a task has written as it has to be is linked, others are put together from what was decoded.
    """
    for split, index in rows.items():
        path = folder / f"{split}.h5"
        images = source.image_set(index)
        in_part = rows_per_part("images", len(index))
        if in_part is not None:
            images = replace(images, images=_lay_out(path, source, index, in_part, pool))
        write_images(path, images)
        advance(len(index))
    return [f"{split}.h5" for split in rows]


def _lay_out(path: Path, source: Source, index: Array, in_part: int, pool: Pool) -> PartedRows:
    starts = class_starts(source.labels[index], len(source.classes), in_part)
    files = list(part_files(path, source.images.take(index), source.ids[index], source.recipe, starts))
    return place_all(path, files, source.new_parts, pool)


def publish(scratch: Path, out: Path, files: Collection[str]) -> None:
    """Move finished files into the output folder, sets with their part files; remove sets that are no longer made."""
    remove_other_sets(out, {out / name for name in files})
    for name in files:
        if name.endswith(".h5"):
            move_set(scratch / name, out / name)
        else:
            os.replace(scratch / name, out / name)
