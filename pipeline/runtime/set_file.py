"""The file that rows are for: small sets are one plain file, large ones are laid out in part files beside it."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from cache.lay_out import PartFile, placed_rows
from cache.layout import rows_per_part
from cache.parted import PartedRows
from pipeline.runtime.task import run_task
from pipeline.runtime.workers import Pool


@dataclass(frozen=True)
class SetFile:
    """A set that is to be written. kind: images or features."""

    path: Path
    kind: str

    def rows_per_part(self, count: int) -> int | None:
        """Rows of each part file if the set has so many rows; None if it is one plain file."""
        return rows_per_part(self.kind, count)


@dataclass(frozen=True)
class _Placing:
    """The task of putting one part file in its place; its result is its number, where its rows begin, its bytes."""

    number: int
    file: PartFile

    def read(self) -> None:
        """Nothing: rows are read block by block, if at all."""

    def compute(self, _: None) -> tuple[int, int]:
        return self.file.place()

    def write(self, placed: tuple[int, int]) -> tuple[int, tuple[int, int]]:
        return self.number, placed


def place_all(path: Path, files: list[PartFile], new: Collection[Path], pool: Pool) -> PartedRows:
    """Put all part files of a set in their places; its rows, for its index to be written.

    new: stored parts that this run has written, which are only linked. The others are read by the pool.
    """
    placed: dict[int, tuple[int, int]] = {}
    tasks = []
    for number, file in enumerate(files):
        source = file.rows.whole_file()
        is_new = source is not None and source.path in new
        task = _Placing(number, replace(file, is_new=is_new))
        if is_new:
            placed.update([run_task(task)])
        else:
            tasks.append(task)
    placed.update(pool.run(tasks))
    return placed_rows(path, files, [placed[number] for number in range(len(files))])
