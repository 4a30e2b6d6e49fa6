"""What prepare takes for a large source: bytes written, processor time and memory, by how the images lie.

    python benchmarks/large_prepare.py [--images 100000] [--classes 100] [--size 64] [--folder FOLDER] [--code CHECKOUT]

Photos are synthetic JPEGs, made once in --folder. They are prepared from the folder, whose classes are decoded by tasks
that write the part files of train; and from a tar archive, which is decoded in order, so that part files are put
together afterwards. --code: the checkout whose prepare is measured, such as an older one.
"""

import argparse
import json
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import stage_runs
from large_sets import written_bytes
from PIL import Image
from stage_runs import ROOT, Place, machine, write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="where photos and sets go; a temporary folder otherwise")
    parser.add_argument("--code", type=Path, default=ROOT)
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/large_prepare.json"))
    given = parser.parse_args()
    stage_runs.ROOT = given.code.resolve()
    folder = given.folder or Path(tempfile.mkdtemp())
    try:
        place = Place(folder, (f"prepare.size={given.size}", "prepare.val=0.1", "prepare.test=0.1"))
        if not place.photos.exists():
            make_small_photos(place.photos, given.images, given.classes, given.size)
        archive = make_archive(folder / "photos.tar", place.photos)
        bytes_of_rows = given.images * given.size**2 * 3
        figures = {
            name: measure(place, source, bytes_of_rows) for name, source in (("folder", place.photos), ("tar", archive))
        }
    finally:
        if given.folder is None:
            shutil.rmtree(folder)
    print(json.dumps(figures, indent=2))
    values = {"machine": machine(), "images": given.images, "classes": given.classes, "size": given.size}
    write_json(given.out, {**values, **figures})


def make_small_photos(folder: Path, count: int, classes: int, size: int) -> None:
    """JPEGs of 64 smooth patches each, `<class>/<number>.jpg`."""
    random = np.random.default_rng(0)
    for number in range(count):
        patches = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        path = folder / f"class_{number % classes}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        patches.resize((size, size), Image.Resampling.BILINEAR).save(path)


def make_archive(path: Path, photos: Path) -> Path:
    """The photos as a tar archive; one that is there already is taken."""
    if not path.exists():
        partial = path.with_suffix(".partial")
        with tarfile.open(partial, "w") as tar:
            tar.add(photos, ".")
        partial.rename(path)
    return path


def measure(place: Place, source: Path, bytes_of_rows: int) -> dict[str, Any]:
    """One run into an empty data folder; bytes are those handed to write() by all processes of the run."""
    shutil.rmtree(place.folder / "data", ignore_errors=True)
    before = written_bytes()
    cost = place.run("prepare", f"prepare.source={source}")
    written = written_bytes() - before
    files = [file for file in (place.folder / "data" / "prepare").rglob("*") if file.is_file()]
    return {
        "summary": cost.summary,
        "seconds": cost.seconds,
        "processor": cost.processor_seconds,
        "peak_mib": cost.peak_mib,
        "bytes_of_rows": bytes_of_rows,
        "written": written,
        "ratio": written / bytes_of_rows,
        "part_files": sum(file.parent.suffix == ".parts" for file in files),
        "on_disk": sum(file.stat().st_size for file in files),
    }


if __name__ == "__main__":
    main()
