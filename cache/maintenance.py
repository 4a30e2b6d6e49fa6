"""See and tidy the store of parts, checkpoints and exports: what it holds, whether it is sound, and what may go.

A recipe's age is the time since it was last used: opening its folder or adding a part renews it. Pruning removes
whole parts, those of the recipe that was not used for longest first, and of one recipe the oldest first; a checkpoint
and an export each count as a recipe of one part. What is removed is computed again when it is asked for.
"""

import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.errors import DamagedFile, FileError, StorageError
from cache.files import remove_stale
from cache.layout import recipe_key, rows_per_block
from cache.reader import read_file
from cache.sealed import read_sealed
from cache.stored_rows import REMAKE

RECIPE = re.compile(r"[0-9a-f]{32}")
DAY = 86_400
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredRecipe:
    """The parts of one recipe, or one file. used: seconds since 1970. damaged: parts that could not be opened."""

    folder: Path
    description: str
    parts: int
    rows: int
    bytes: int
    used: float
    damaged: int


def list_recipes(store: Path) -> list[StoredRecipe]:
    """Every recipe, checkpoint and export of the store, the most recently used first."""
    files = [StoredRecipe(path, _kind_of(path), 1, 0, _size(path), _time(path), 0) for path in sealed_paths(store)]
    return sorted([*map(_described, recipe_folders(store)), *files], key=lambda recipe: -recipe.used)


def sealed_paths(store: Path) -> list[Path]:
    """Checkpoints, <store>/checkpoints/<stage>/<key>.pt, and exported networks, <store>/engines/<key>.onnx."""
    return [*sorted(store.glob("checkpoints/*/*.pt")), *sorted(store.glob("engines/*.onnx"))]


def _kind_of(path: Path) -> str:
    return "backbone exported to ONNX" if path.suffix == ".onnx" else f"checkpoint of {path.parent.name}"


def recipe_folders(store: Path) -> Iterator[Path]:
    """The folders of parts in a store, by name: <store>/<stage>/<recipe>."""
    folders = (path for path in sorted(store.glob("*/*")) if RECIPE.fullmatch(path.name) and path.is_dir())
    return (path for path in folders if any(path.glob("*.h5")))


def _described(folder: Path) -> StoredRecipe:
    used = folder.stat().st_mtime
    rows = 0
    damaged = 0
    description = "no part can be read"
    paths = sorted(folder.glob("*.h5"))
    for path in paths:
        try:
            part = read_file(path, "part")
        except (FileError, StorageError):
            damaged += 1
        else:
            rows += len(part.rows)
            description = describe(part.meta["recipe"])
    return StoredRecipe(folder, description, len(paths), rows, sum(map(_size, paths)), used, damaged)


def describe(recipe: dict[str, Any]) -> str:
    """A recipe in one line: its plain values, digests cut short, libraries with their versions."""
    libraries = recipe.get("libraries")
    named = {**recipe, **(libraries if isinstance(libraries, dict) else {})}
    words = [f"{name} {_short(value)}" for name, value in named.items() if isinstance(value, str | int | float)]
    return ", ".join(sorted(words, key=lambda word: not word.startswith("stage "))) or "empty recipe"


def _short(value: object) -> str:
    text = str(value)
    return text[:8] if DIGEST.fullmatch(text) else text if len(text) <= 40 else f"{text[:37]}..."


def table(recipes: list[StoredRecipe]) -> list[str]:
    """Lines for people: a header, then one recipe a line."""
    now = time.time()
    return [f"{'parts':>7}{'rows':>12}{'MiB':>11}{'days':>7}  recipe"] + [
        f"{recipe.parts:>7,}{recipe.rows:>12,}{recipe.bytes / 2**20:>11,.1f}{(now - recipe.used) / DAY:>7,.1f}"
        f"  {recipe.description}{f' ({recipe.damaged:,} DAMAGED: run verify)' if recipe.damaged else ''}"
        for recipe in recipes
    ]


def verify(store: Path, advance: Callable[[int], object] = lambda count: None) -> list[str]:
    """Read and check every byte of every file; return one line for each that cannot be trusted."""
    wrong: list[str] = []
    for path in stored_paths(store):
        try:
            if path.suffix == ".h5":
                _check_part(path)
            else:
                read_sealed(path)
        except (FileError, StorageError) as error:
            wrong.append(str(error))
        advance(1)
    return wrong


def stored_paths(store: Path) -> list[Path]:
    """Every part, checkpoint and export of the store."""
    parts = [path for folder in recipe_folders(store) for path in sorted(folder.glob("*.h5"))]
    return parts + sealed_paths(store)


def _check_part(path: Path) -> None:
    part = read_file(path, "part")
    if (key := recipe_key(part.meta["recipe"])[:32]) != path.parent.name:
        raise DamagedFile(
            "part belongs to another recipe", where=path, expected=path.parent.name, found=key, remedy=REMAKE
        )
    step = rows_per_block(part.rows.shape[1:], part.rows.dtype)
    for start in range(0, len(part.rows), step):
        part.rows[start : start + step]


def choose_prunable(store: Path, older_than: float = math.inf, at_most: float = math.inf) -> list[Path]:
    """Files to remove: of recipes not used for `older_than` seconds, then as many as leave `at_most` bytes."""
    recipes = sorted([*recipe_folders(store), *sealed_paths(store)], key=_time)
    now = time.time()
    old = [recipe for recipe in recipes if now - _time(recipe) >= older_than]
    chosen = [path for recipe in old for path in _oldest_first(recipe)]
    left = [path for recipe in recipes if recipe not in old for path in _oldest_first(recipe)]
    total = sum(map(_size, left))
    for path in left:
        if total <= at_most:
            break
        chosen.append(path)
        total -= _size(path)
    return chosen


def _oldest_first(recipe: Path) -> list[Path]:
    parts = recipe.glob("*.h5") if recipe.is_dir() else [recipe]
    return sorted(parts, key=lambda path: (_time(path), path.name))


def _time(path: Path) -> float:
    return path.stat().st_mtime


def _size(path: Path) -> int:
    return path.stat().st_size


def remove_parts(parts: list[Path]) -> None:
    """Remove parts and the folders that they leave empty, and keep the age of the others. Raises StorageError."""
    used = {folder: folder.stat().st_mtime for folder in {path.parent for path in parts}}
    for path in parts:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot remove: {error.strerror}", where=path) from error
    for folder, when in used.items():
        with suppress(OSError):  # it is not empty, or another process was faster
            folder.rmdir()
        with suppress(OSError):
            os.utime(folder, (when, when))


def remove_all_stale(store: Path) -> int:
    """Remove what dead processes left half written anywhere in the store; return how many files."""
    folders = [*store.glob("*"), *store.glob("*/*")]
    return sum(remove_stale(folder) for folder in folders if folder.is_dir())
