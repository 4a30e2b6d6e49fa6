"""What does changing one photo in a hundred cost, against a full run?

    python benchmarks/incremental.py [--images 10000] [--size 224] [--backbone efficientnet-b0] [--folder FOLDER]

Full, changed (new pixels in 1 % of the files) and unchanged runs of prepare, augment and featurize, each stage a
process as a user starts it. `start-up` is the same command on 100 photos of which everything is cached; shares are of
the time beyond it. tests/faults/test_incremental.py compares the bytes with those of a run from scratch.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from stage_runs import Place, make_photos, write_json

STAGES = ("prepare", "augment", "featurize")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--backbone", default="efficientnet-b0")
    parser.add_argument("--folder", type=Path, help="where everything goes; a temporary folder otherwise")
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/incremental.json"))
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp())
    try:
        report(measure(folder, given.images, given.size, given.backbone), given.out)
    finally:
        if given.folder is None:
            shutil.rmtree(folder)


def measure(folder: Path, images: int, size: int, backbone: str) -> dict[str, dict[str, float]]:
    """Seconds of each stage by kind of run."""
    sizes = (f"prepare.size={size}", f"augment.size={size}", f"featurize.size={size}")
    overrides = (*sizes, "augment.keep=pixels", f"featurize.backbone={backbone}", "featurize.weights=random")
    small = Place(folder / "small", overrides)
    full = Place(folder / "full", overrides)
    make_photos(small.photos, range(100), size)
    make_photos(full.photos, range(images), size)
    run_all(small)
    times = {"start-up": run_all(small), "full": run_all(full)}
    make_photos(full.photos, range(0, images, 100), size, seed=1)
    return times | {"1 % changed": run_all(full), "unchanged": run_all(full)}


def run_all(place: Place) -> dict[str, float]:
    seconds = {}
    for stage in STAGES:
        cost = place.run(stage)
        print(cost.summary, flush=True)
        seconds[stage] = cost.seconds
    return seconds | {"all": sum(seconds.values())}


def report(times: dict[str, dict[str, float]], out: Path) -> None:
    full = times["full"]["all"] - times["start-up"]["all"]
    print(f"\n{'':14}" + "".join(f"{stage:>12}" for stage in (*STAGES, "all")) + f"{'beyond start-up':>18}{'share':>8}")
    for kind, seconds in times.items():
        beyond = seconds["all"] - times["start-up"]["all"]
        cells = "".join(f"{seconds[stage]:>10.1f} s" for stage in (*STAGES, "all"))
        print(f"{kind:14}{cells}{beyond:>16.1f} s{beyond / full:>8.1%}")
    write_json(out, times)


if __name__ == "__main__":
    main()
