"""What a large set costs: opening an index of many rows, and how often a row's bytes are written.

    python benchmarks/large_sets.py [--rows 200000] [--index-rows 14000000] [--folder FOLDER]

Rows are synthetic: float16 features of 1,280 values. The first part lays out --rows of them as featurize does, computed
in tasks of 1,024 into a store, once with part files and once gathered into one plain file, and counts the bytes that
this process writes (/proc/self/io). The second writes an index of --index-rows whose part files are empty but as long
as they should be, and opens it.
"""

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from stage_runs import machine, write_json

from cache.layout import Array, rows_per_part
from cache.parted import PartedRows, parts_folder
from cache.parts import PartStore
from cache.reader import read_features
from cache.records import FeatureSet, ImageSet
from cache.stored_rows import StoredRows
from cache.writer import write_features
from pipeline.runtime.incremental import ComputePlan, compute_missing
from pipeline.runtime.set_file import SetFile
from pipeline.runtime.workers import Pool

WIDTH = 1280
ROWS_PER_TASK = 1024
RECIPE = {"stage": "featurize", "synthetic": True}


class Synthetic:
    """Features that follow from an image alone."""

    recipe = RECIPE

    def __call__(self, images: Array, keys: Array) -> Array:
        values = np.random.default_rng(0).standard_normal(WIDTH).astype(np.float16)
        return np.multiply.outer(images.reshape(len(images), -1)[:, 0].astype(np.float16), values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--index-rows", type=int, default=14_000_000)
    parser.add_argument("--folder", type=Path, help="where files go; a temporary folder otherwise")
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/large_sets.json"))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        figures = {
            "part files": lay_out(folder / "parts", given.rows, True),
            "one plain file": lay_out(folder / "plain", given.rows, False),
            "index": open_index(folder / "index", given.index_rows),
        }
    finally:
        shutil.rmtree(folder)
    print(json.dumps(figures, indent=2))
    write_json(given.out, {"machine": machine(), "rows": given.rows, "index_rows": given.index_rows, **figures})


def lay_out(folder: Path, count: int, in_parts: bool) -> dict[str, Any]:
    """Compute rows into a store and write the set: bytes written and time, of the rows and of the set."""
    images = small_images(count)
    path = folder / "train-unaugmented.h5"
    output = SetFile(path, "features") if in_parts else None
    plan = ComputePlan(PartStore(folder / "store", RECIPE), Synthetic(), ROWS_PER_TASK, Pool(1), output)
    rows, computing = measured(lambda: compute_missing(images, images.ids, plan)[0])
    features = FeatureSet(rows, images.labels, images.ids, images.classes, "unaugmented", "synthetic", RECIPE)
    _, writing = measured(lambda: write_features(path, features))
    stored, opening = measured(lambda: read_features(path))
    _, reading = measured(lambda: stored.features[:])
    times = {"computing": computing, "writing": writing, "opening": opening, "reading": reading}
    written = computing["written"] + writing["written"]
    return {"bytes of rows": count * WIDTH * 2, "written": written, "ratio": written / (count * WIDTH * 2), **times}


def open_index(folder: Path, count: int) -> dict[str, Any]:
    """Write an index of so many rows and open it, with part files that hold nothing."""
    images = small_images(count)
    path = folder / "train-unaugmented.h5"
    parts = parts_folder(path)
    parts.mkdir(parents=True)
    step = rows_per_part("features", count) or count
    digests = np.random.default_rng(0).integers(0, 256, (count, 32), dtype=np.uint8)
    sources = []
    for start in range(0, count, step):
        shape = (min(step, count - start), WIDTH)
        own = digests[start : start + shape[0]]
        sources.append(StoredRows(parts / f"{start:064x}.h5", 4096, shape, np.dtype(np.float16), own))
        with sources[-1].path.open("wb") as file:
            file.truncate(4096 + shape[0] * WIDTH * 2)
    sizes = np.array([source.path.stat().st_size for source in sources])
    rows = PartedRows(tuple(sources), folder=parts, sizes=sizes)
    identity = (images.labels, images.ids, images.classes)
    _, writing = measured(lambda: write_features(path, FeatureSet(rows, *identity, "unaugmented", "synthetic", RECIPE)))
    stored, opening = measured(lambda: read_features(path))
    few, taking = measured(lambda: stored.features.select(np.arange(0, count, count // 100)))
    assert len(few) >= 100
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    size = path.stat().st_size
    return {
        "bytes": size,
        "parts": len(sizes),
        "writing": writing,
        "opening": opening,
        "choosing": taking,
        "peak": peak,
    }


def small_images(count: int) -> ImageSet:
    """Images of one pixel that are never read from disk, with made-up ids."""
    images = ImageSet(np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0, int), np.zeros(0, "S64"), ("a", "b"))
    pixels = np.zeros((count, 1, 1, 3), dtype=np.uint8)
    pixels[:, 0, 0, 0] = np.arange(count) % 251
    numbers = np.random.default_rng(1).integers(0, 256, (count, 32), dtype=np.uint8)
    ids = np.frombuffer(numbers.tobytes().hex().encode(), dtype="S64")
    return replace(images, images=pixels, labels=np.arange(count) % 2, ids=ids)


def measured(act: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What an act returns, its seconds, and how many bytes this process has written in it."""
    before = written_bytes()
    started = time.perf_counter()
    used = time.process_time()
    result = act()
    seconds = {"seconds": time.perf_counter() - started, "processor": time.process_time() - used}
    return result, {**seconds, "written": written_bytes() - before}


def written_bytes() -> int:
    """Bytes that this process has handed to write()."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


if __name__ == "__main__":
    main()
