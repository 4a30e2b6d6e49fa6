"""The first run: images to a trained head, from nothing, against report 001's own way as one plain script.

    python benchmarks/first_run.py [--images 1000] [--repeats 1]

JPEGs of 64 px, EfficientNet-B0 of random weights, the report's policies, its six phases and its head of one hidden
layer. All as a user starts them, imports included, in turn: ours as one command, `python -m stages.run prepare augment
featurize train_head`, and as those four commands; theirs as `benchmarks/report_way.py`.
Aimed at: 2.5 times as fast at 1,000 images, 4 times at 10,000. The limit is the same work without any start: `start-up`
is the one command once more over a few images of which everything is cached.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report_way import PHASES
from stage_runs import ROOT, Place, machine, make_photos, write_json

STAGES = ("prepare", "augment", "featurize", "train_head")
SIZE = 64
FEW = 20  # images
OVERRIDES = (
    *(f"{stage}.size={SIZE}" for stage in ("prepare", "augment", "featurize")),
    *("featurize.backbone=efficientnet-b0", "featurize.weights=random", "prepare.val=none", "prepare.test=none"),
    "augment.variants=[spatial_1, spatial_2, color_1, spatial_3]",
    f"train_head.schedule=[{', '.join(f'{phase} x 2' for phase in PHASES)}]",
    *("train_head.hidden=[512]", "train_head.lr=0.001", "train_head.weight_decay=0"),
)
OURS = "one command"
THEIRS = "report's way"
AIMS = {1000: 2.5, 10_000: 4.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/first_run.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder) / "whole", OVERRIDES)
        few = Place(Path(folder) / "few", OVERRIDES)
        make_photos(place.photos, range(given.images), SIZE)
        make_photos(few.photos, range(FEW), SIZE)
        rounds = [one_round(place, few) for _ in range(given.repeats)]
    names = list(rounds[0])
    seconds = {name: statistics.median(measured[name] for measured in rounds) for name in names}
    ratio = seconds[THEIRS] / seconds[OURS]
    limit = seconds[OURS] - seconds["start-up"]
    aim = AIMS.get(given.images)
    print(f"{given.images:,} images of {SIZE} px, EfficientNet-B0; {machine()}")
    for name in names:
        print(f"{name:<16}{seconds[name]:>8.1f} s")
    print(f"{ratio:.2f}x as fast as the report's way" + (f" (aim {aim}x)" if aim else ""))
    print(f"{'limit':<16}{limit:>8.1f} s without any start-up: {seconds[THEIRS] / limit:.2f}x")
    write_json(given.out, {"machine": machine(), "images": given.images, "rounds": rounds, "ratio": ratio, "aim": aim})


def one_round(place: Place, few: Place) -> dict[str, float]:
    """Seconds of the one command and of the plain script from nothing, of each stage, and of a start."""
    clear(place)
    seconds = {OURS: place.run("run", words=STAGES).seconds}
    script = [
        sys.executable,
        str(ROOT / "benchmarks" / "report_way.py"),
        str(place.photos),
        str(place.folder / "report"),
    ]
    own = os.environ | {"PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    subprocess.run([*script, "--size", str(SIZE)], cwd=ROOT, env=own, check=True)
    seconds[THEIRS] = time.perf_counter() - started
    few.run("run", words=STAGES)
    seconds["start-up"] = few.run("run", words=STAGES).seconds
    clear(place)
    return seconds | {f"{stage} alone": place.run(stage).seconds for stage in STAGES}


def clear(place: Place) -> None:
    for name in ("data", "store", "report"):
        shutil.rmtree(place.folder / name, ignore_errors=True)


if __name__ == "__main__":
    main()
