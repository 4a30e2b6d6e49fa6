"""Lists of files that prepare leaves for people: where each row came from, and what could not be read."""

import csv
from collections.abc import Mapping
from pathlib import Path

from cache.errors import InputError
from cache.layout import Array
from pipeline.ingest.source import Source

FILES_COLUMNS = ("id", "split", "row", "class", "path")
FIRST = 3  # unreadable images that the error names; the list on disk names all


def write_files_csv(path: Path, source: Source, rows: Mapping[str, Array]) -> None:
    """The file that each row of each split was read from: `id,split,row,class,path`, path as the source has it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FILES_COLUMNS)
        for split, index in rows.items():
            for row, chosen in enumerate(index):
                label = source.classes[source.labels[chosen]]
                writer.writerow((source.ids[chosen].decode(), split, row, label, source.paths[chosen]))


def write_unreadable(unreadable: dict[str, str], path: Path, refuse: bool) -> list[str]:
    """List every image that cannot be read, one a line; what to say of it. Raises InputError if they are refused."""
    if not unreadable:
        path.unlink(missing_ok=True)
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}: {reason}\n" for name, reason in unreadable.items()), encoding="utf-8")
    count = "1 image" if len(unreadable) == 1 else f"{len(unreadable):,} images"
    lines = [f"{name} {reason}" for name, reason in unreadable.items()]
    first = "; ".join(lines if len(lines) <= FIRST else [*lines[:FIRST], "..."])
    if refuse:
        raise InputError(
            f"{count} cannot be read: {first}",
            remedy=f"All are listed in {path}: mend or delete them, or set prepare.unreadable to allow.",
        )
    return [f"left out {count} that cannot be read: {first}; all are listed in {path}"]
