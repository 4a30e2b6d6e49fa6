"""Which file each stored image came from, as prepare records it in files.csv, and what a person decided about it."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cache.errors import DamagedFile
from pipeline.metrics.compare import Comparison

NAME = "files.csv"
MANIFEST = "manifest.json"
COLUMNS = {"id", "split", "row", "path"}


@dataclass(frozen=True)
class SourceFiles:
    """files: id and path of the image in a row of a split, by (split, row); empty if prepare has recorded none.

    kept: paths of images whose labels a person has found right. open: of those that were suspected earlier, and that
    nobody has decided about. former: the labels of those that the person corrected, as they were before, by path.
    """

    files: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    open: frozenset[str] = frozenset()
    former: Mapping[str, str] = field(default_factory=dict)

    def path(self, split: str, row: int, image_id: str) -> str:
        """The path within the source; empty if unknown, or if the row now holds another image."""
        known_id, path = self.files.get((split, str(row)), ("", ""))
        return path if known_id == image_id else ""


def parse_source_files(text: str) -> SourceFiles:
    """From the text of files.csv; empty text has no files. Raises DamagedFile if a column is missing."""
    reader = csv.DictReader(io.StringIO(text, newline=""))
    header = set(reader.fieldnames or ())
    if text and not header >= COLUMNS:
        remedy = "Run prepare again."
        expected = ", ".join(sorted(COLUMNS))
        raise DamagedFile("columns are missing", where=NAME, expected=expected, found=", ".join(header), remedy=remedy)
    return SourceFiles({(row["split"], row["row"]): (row["id"], row["path"]) for row in reader})


def read_source_files(folder: Path) -> SourceFiles:
    """Of prepare's output folder; empty if it has no files.csv. Raises DamagedFile."""
    path = folder / NAME
    if not path.exists():
        return SourceFiles()
    sources = parse_source_files(path.read_text(encoding="utf-8"))
    manifest = folder / MANIFEST
    try:
        decided = json.loads(manifest.read_text(encoding="utf-8")).get("relabel", {}) if manifest.exists() else {}
    except ValueError as error:
        raise DamagedFile("not JSON", where=manifest, remedy="Run prepare again.") from error
    kept, still_open = (frozenset(decided.get(name, ())) for name in ("kept", "open"))
    return replace(sources, kept=kept, open=still_open, former=decided.get("labels", {}))


def with_paths(comparison: Comparison, sources: SourceFiles) -> Comparison:
    """The same comparison with the file of each changed image of test."""
    images = tuple(replace(image, path=sources.path("test", image.row, image.id)) for image in comparison.images)
    return replace(comparison, images=images)
