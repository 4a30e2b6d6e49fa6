"""How do time and memory grow? Each stage at 1,000, 10,000 and 100,000 images, as processes of their own.

    python benchmarks/growth.py [--counts 1000 10000 100000] [--size 32] [--folder FOLDER] [--plot growth.png]

Photos made here, one variant, efficientnet-mini; `augment.workers=1`, because `auto` starts other processes once the
work is long enough for them, and each holds its libraries. Memory is the highest sum of what a stage's processes hold;
the time per image is that between two counts, so start-up is left out.
"""

import argparse
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

from stage_runs import Cost, Place, machine, make_photos, write_json

STAGES = ("prepare", "augment", "featurize", "train_head")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--folder", type=Path, help="where everything goes; a temporary folder otherwise")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/growth.json"))
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp())
    try:
        costs = {count: measure(folder / str(count), count, given.size) for count in given.counts}
    finally:
        if given.folder is None:
            shutil.rmtree(folder)
    print(f"\n{machine()}; images of {given.size} px")
    steps = list(pairwise(given.counts))
    heads = [*(f"{less:,} to {more:,}" for less, more in steps), *(f"memory at {count:,}" for count in given.counts)]
    print(f"{'stage':12}" + "".join(f"{head:>22}" for head in heads))
    for stage in STAGES:
        times = [milliseconds(costs, stage, *step) for step in steps]
        memory = [costs[count][stage].peak_mib for count in given.counts]
        cells = [*(f"{time:.2f} ms per image" for time in times), *(f"{mebibytes:,.0f} MiB" for mebibytes in memory)]
        print(f"{stage:12}" + "".join(f"{cell:>22}" for cell in cells))
    if given.plot:
        draw(costs, given.plot)
    records = {count: {stage: vars(cost) for stage, cost in by_stage.items()} for count, by_stage in costs.items()}
    write_json(given.out, {"machine": machine(), "size": given.size, "costs": records})


def milliseconds(costs: dict[int, dict[str, Cost]], stage: str, less: int, more: int) -> float:
    """Of one image between two counts."""
    return 1000 * (costs[more][stage].seconds - costs[less][stage].seconds) / (more - less)


def measure(folder: Path, count: int, size: int) -> dict[str, Cost]:
    """What each stage costs, from photos to a head."""
    values = ["augment.variants=[color_1]", "train_head.schedule=[unaugmented x 1, color_1 x 1]"]
    values += [
        "augment.workers=1",
        "augment.keep=pixels",
        *(f"{stage}.size={size}" for stage in ("prepare", "augment", "featurize")),
    ]
    place = Place(folder, tuple(values))
    make_photos(place.photos, range(count), size)
    costs = {}
    for stage in STAGES:
        costs[stage] = place.run(stage)
        print(f"{costs[stage].seconds:6.1f} s  {costs[stage].summary}", flush=True)
    return costs


def draw(costs: dict[int, dict[str, Cost]], path: Path) -> None:
    """Whole time and memory over images, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for plot, (name, title) in zip(
        figure.subplots(1, 2), (("seconds", "time of a stage, s"), ("peak_mib", "peak memory, MiB")), strict=True
    ):
        for stage in STAGES:
            values = [getattr(by_stage[stage], name) for by_stage in costs.values()]
            plot.plot(list(costs), values, marker="o", label=stage)
        plot.set(xscale="log", yscale="log", xlabel="images", title=title)
        plot.grid(alpha=0.3)
        plot.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
