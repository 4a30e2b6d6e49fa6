"""Many images through the whole pipeline without keeping augmented pixels: time, memory and disk of every stage.

    python benchmarks/million.py --images 1000000 --source FOLDER [FOLDER ...] [--kill] [--workers 2 4]

The images are those of the sources (folders of class folders, any depth), tiled: copy number k is shifted by k pixels
and a little brighter, so that no two are alike. They are packed into one tar archive. Two variants, 64 px,
efficientnet-mini, `augment.keep: nothing`. --kill: every stage is killed once, half way through, run again, and its
files compared with those of the undisturbed run. --workers: featurize once more on so many dask workers on loopback,
into a store of its own, and compare. Memory is the highest sum of what a stage's processes hold. With --folder a
repeated command goes on after the last stage that --out tells of.
"""

import argparse
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from cluster import cluster
from PIL import Image
from stage_runs import ROOT, Cost, Place, machine, write_json

STAGES = ("prepare", "augment", "featurize", "train_head", "evaluate")
ENDINGS = (".jpg", ".jpeg", ".JPEG", ".png")
SIDE = 64
VALUES = (
    "augment.variants=[spatial_1, color_1]",
    "augment.keep=nothing",
    *("featurize.backbone=efficientnet-mini", "featurize.weights=advprop"),
    "train_head.schedule=[unaugmented x 2, spatial_1 x 2, color_1 x 2]",
    "prepare.val=0.02",
    "prepare.test=0.02",
    *(f"{stage}.size={SIDE}" for stage in ("prepare", "augment", "featurize")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--source", type=Path, nargs="+", required=True)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--workers", type=int, nargs="*", default=[])
    parser.add_argument("--folder", type=Path, help="where everything goes; a temporary folder otherwise")
    parser.add_argument("--set", action="append", default=[], help="section.key=value, repeatable")
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/million.json"))
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp())
    try:
        archive = make_archive(folder / "images.tar", given.source, given.images)
        place = Place(folder, (*VALUES, f"prepare.source={archive}", *given.set))
        steps = {stage: partial(measure, place, stage, given.kill) for stage in STAGES}
        for count in given.workers:
            steps[f"featurize on {count} workers"] = partial(featurize_on_cluster, place, count)
        known = json.loads(given.out.read_text())["stages"] if given.folder and given.out.exists() else {}
        figures = {}
        for name, step in steps.items():
            figures[name] = known.get(name) or step()
            write_json(given.out, {"machine": machine(), "images": given.images, "stages": figures})
    finally:
        if given.folder is None:
            shutil.rmtree(folder)
    print(f"\n{machine()}; {given.images:,} images")
    for name, figure in figures.items():
        line = (
            f"{name:24}{figure['seconds']:>10,.0f} s{figure['processor_seconds']:>10,.0f} s of the processor"
            f"{figure['peak_mib']:>10,.0f} MiB{figure['disk_mb']:>10,.0f} MB"
        )
        print(line + (f"   {figure['repeat']}" if figure["repeat"] else ""))


def make_archive(path: Path, sources: list[Path], count: int) -> Path:
    """One tar archive of JPEGs `<class>/<number>.jpg`; one that is there already is taken."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [file for source in sources for file in sorted(source.rglob("*")) if file.suffix in ENDINGS]
    order = np.random.default_rng(0).permutation(len(files))
    unfinished = path.with_suffix(".partial")
    with tarfile.open(unfinished, "w") as tar:
        for number, (file, copy) in enumerate(islice(tiled([files[index] for index in order]), count)):
            content = changed(file, copy)
            member = tarfile.TarInfo(f"{class_of(file)}/{number}.jpg")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    unfinished.rename(path)
    return path


def tiled(files: list[Path]) -> Iterator[tuple[Path, int]]:
    """Every file with the number of its copy, again and again."""
    copy = 0
    while True:
        yield from ((file, copy) for file in files)
        copy += 1


def class_of(file: Path) -> str:
    """The class folder of a file: Tiny ImageNet has a folder `images` in it."""
    return file.parent.parent.name if file.parent.name == "images" else file.parent.name


def changed(file: Path, copy: int) -> bytes:
    """The JPEG of an image at 64 px, shifted by so many pixels and a little brighter."""
    image = Image.open(file).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    pixels = np.roll(np.asarray(image, dtype=np.int16), 3 * copy, axis=1) + 2 * copy
    target = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(target, "JPEG", quality=85)
    return target.getvalue()


def measure(place: Place, stage: str, kill: bool) -> dict[str, object]:
    """Time, memory and disk of a stage, and on demand what became of one that was killed."""
    before = disk_of(place.folder)
    cost = place.run(stage)
    times = f"{cost.seconds:8.1f} s  {cost.processor_seconds:8.1f} s of the processor"
    print(f"{times}  {cost.peak_mib:8.0f} MiB  {cost.summary}", flush=True)
    disk = disk_of(place.folder) - before
    return figure_of(cost, disk, repeat_after_kill(place, stage, cost.seconds) if kill else "")


def figure_of(cost: Cost, disk: int, repeat: str) -> dict[str, object]:
    return {
        "seconds": cost.seconds,
        "processor_seconds": cost.processor_seconds,
        "peak_mib": cost.peak_mib,
        "disk_mb": disk / 1e6,
        "repeat": repeat,
    }


def repeat_after_kill(place: Place, stage: str, seconds: float) -> str:
    """Run the stage anew, kill it half way, run it to its end; how long that took, and whether files are the same."""
    expected = digests(place.folder / "data" / stage)
    forget(place, stage)
    process = start(place, stage)
    time.sleep(seconds / 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    again = place.run(stage)
    same = "the same bytes" if digests(place.folder / "data" / stage) == expected else "OTHER BYTES"
    line = f"killed after {seconds / 2:,.0f} s, then {again.seconds:,.0f} s: {same}"
    print(f"          {line}", flush=True)
    return line


def forget(place: Place, stage: str) -> None:
    """Remove what a stage has made, and the feature rows that it would find again."""
    shutil.rmtree(place.folder / "data" / stage)
    if stage == "featurize":
        shutil.rmtree(place.folder / "store" / "features")


def start(place: Place, stage: str) -> "subprocess.Popen[bytes]":
    """The stage in a process group of its own."""
    sets = [part for override in place.overrides for part in ("--set", override)]
    command = [sys.executable, "-m", f"stages.{stage}", "--data", str(place.folder / "data"), *sets]
    own = os.environ | {"AUGCACHE_STORE": str(place.folder / "store")}
    return subprocess.Popen(command, cwd=ROOT, env=own, stdout=subprocess.DEVNULL, start_new_session=True)


def featurize_on_cluster(place: Place, workers: int) -> dict[str, object]:
    """The same rows by a scheduler and so many workers of one thread each."""
    expected = digests(place.folder / "data" / "featurize")
    forget(place, "featurize")
    before = disk_of(place.folder)
    with cluster(place.folder / f"cluster-{workers}", workers) as (address, _):
        cost = place.run("featurize", f"featurize.scheduler={address}")
    same = "the same bytes" if digests(place.folder / "data" / "featurize") == expected else "OTHER BYTES"
    print(f"{cost.seconds:8.1f} s  {workers} workers: {cost.summary}; {same}", flush=True)
    return figure_of(cost, disk_of(place.folder) - before, same)


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.file_digest(path.open("rb"), "sha256").hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def disk_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
