"""The part store: computed rows kept in append-only part files, found again by the content they came from.

A row is keyed by the digest of its source pixels; a folder is keyed by the recipe, everything else that made it.
Each part is complete or absent, named by its keys, and written by whoever computes it, so any number of processes
may fill one store: the worst that two at once can do is to write the same bytes twice.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from cache.errors import DamagedFile, ForeignFile
from cache.files import remove_stale
from cache.layout import Array, canonical, recipe_key
from cache.reader import read_file
from cache.stored_rows import REMAKE, GatheredRows, StoredRows
from cache.writer import write_file

STORE_VARIABLE = "AUGCACHE_STORE"


_replaced: ContextVar[Path | None] = ContextVar("store folder", default=None)


@contextmanager
def other_store(folder: Path) -> Iterator[None]:
    """Inside the block, this thread's parts and checkpoints lie in another folder."""
    token = _replaced.set(folder)
    try:
        yield
    finally:
        _replaced.reset(token)


def store_folder() -> Path:
    """Where parts are kept: `AUGCACHE_STORE`, else the user's cache folder."""
    replaced = _replaced.get()
    if replaced is not None:
        return replaced
    chosen = os.environ.get(STORE_VARIABLE)
    return Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_cache_dir("augcache"))


@dataclass(frozen=True)
class PartStore:
    """Rows of one recipe. `folder` holds one subfolder per recipe, so any number of recipes share it.

    What it has opened it remembers, so that opening it again reads only new parts. Other processes get none of that.
    """

    folder: Path
    recipe: dict[str, Any]
    _opened: dict[Path, tuple[tuple[int, int], "Part"]] = field(default_factory=dict, compare=False, repr=False)

    def __reduce__(self) -> tuple[type["PartStore"], tuple[Path, dict[str, Any]]]:
        return PartStore, (self.folder, self.recipe)

    @property
    def path(self) -> Path:
        """The folder of this recipe's parts."""
        return self.folder / recipe_key(self.recipe)[:32]

    def write(self, keys: Array, rows: Array) -> Path:
        """Add rows [k, ...] under their keys S64 [k] as one part; return its path."""
        path = self.path_of(keys)
        write_file(path, "part", rows, {"keys": keys}, {"recipe": self.recipe})
        return path

    def path_of(self, keys: Array) -> Path:
        """The file of a part that holds exactly these keys in this order."""
        name = hashlib.sha256(b"".join(keys.tolist())).hexdigest()[:32]
        return self.path / f"{name}.h5"

    def open(self) -> "StoreIndex":
        """Index every complete part. Raises FileError for a part that cannot be trusted."""
        remove_stale(self.path)
        parts = [self._read(path) for path in sorted(self.path.glob("*.h5"))]
        with suppress(OSError):  # the folder's time says when the recipe was last used
            os.utime(self.path)
        return StoreIndex(tuple(part.keys for part in parts), tuple(part.rows for part in parts))

    def _read(self, path: Path) -> "Part":
        state = _state_of(path)
        remembered = self._opened.get(path)
        if remembered is None or remembered[0] != state:
            remembered = (state, read_part(path, self.recipe))
            self._opened[path] = remembered
        return remembered[1]


def _state_of(path: Path) -> tuple[int, int]:
    """What tells that a part is still the same file: its length and when it was changed; zeros if it went away."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class Part:
    """A part whose seal holds: rows [k, ...] on disk, and their keys S64 [k]."""

    keys: Array
    rows: StoredRows


def read_part(path: Path, recipe: dict[str, Any]) -> Part:
    """One part of this recipe. Raises FileError for one that cannot be trusted."""
    part = read_file(path, "part")
    if not isinstance(part.rows, StoredRows):
        raise ForeignFile("a part cannot be the index of others", where=path, remedy=REMAKE)
    if canonical(part.meta["recipe"]) != canonical(recipe):
        raise ForeignFile(
            "part belongs to another recipe",
            where=path,
            expected=recipe_key(recipe)[:32],
            found=recipe_key(part.meta["recipe"])[:32],
            remedy=REMAKE,
        )
    return Part(part.columns["keys"], part.rows)


@dataclass(frozen=True)
class StoreIndex:
    """Which key lies in which row of which file, as it was when the store was opened."""

    keys: tuple[Array, ...] = ()
    sources: tuple[StoredRows, ...] = ()

    def joined(self, keys: Array, rows: StoredRows) -> "StoreIndex":
        """This index with one more source of rows: keys S64 [k] for rows [k, ...]."""
        return StoreIndex((*self.keys, keys), (*self.sources, rows))

    def missing(self, keys: Array) -> Array:
        """Positions int [m] of the keys that no source holds, each key once, in order."""
        _, first = np.unique(keys, return_index=True)
        positions = np.sort(first)
        return positions[~np.isin(keys[positions], self._sorted[0])]

    def rows(self, keys: Array) -> GatheredRows:
        """Lazy rows for the keys, in their order. Raises DamagedFile for a key that no source holds."""
        known, order = self._sorted
        places = np.minimum(np.searchsorted(known, keys), max(0, len(known) - 1))
        if len(keys) and (not len(known) or (known[places] != keys).any()):
            raise DamagedFile("rows are missing from the part store", remedy="Run the same command again.")
        return GatheredRows(self.sources, order[places] if len(known) else places)

    @cached_property
    def _sorted(self) -> tuple[Array, Array]:
        """All keys sorted, and where each stands when the sources are laid end to end; the first source wins."""
        everything = np.concatenate(self.keys) if self.keys else np.empty(0, dtype="S64")
        order = np.argsort(everything, kind="stable")
        return everything[order], order
