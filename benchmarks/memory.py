"""Does memory stay flat? Peak of prepare, augment and featurize at 2,000 and at 50,000 images.

    python benchmarks/memory.py [--few 2000] [--many 50000] [--size 64] [--folder FOLDER]

Resident memory summed over a stage's processes, highest value seen. One variant, because variants follow one another;
one process, because `auto` starts others once the work is long enough for them, and each holds its libraries.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from stage_runs import Place, make_photos, write_json

LIMIT_MIB = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=2_000)
    parser.add_argument("--many", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="where everything goes; a temporary folder otherwise")
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/memory.json"))
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp())
    try:
        found = {count: measure(folder / str(count), count, given.size) for count in (given.few, given.many)}
    finally:
        if given.folder is None:
            shutil.rmtree(folder)
    few, many = found.values()
    print(f"\n{'peak memory':12}{given.few:>14,}{given.many:>14,}{'difference':>14}")
    for stage in few:
        cells = f"{few[stage]:>10,.0f} MiB{many[stage]:>10,.0f} MiB{many[stage] - few[stage]:>+10,.0f} MiB"
        print(f"{stage:12}{cells}" + ("" if many[stage] - few[stage] < LIMIT_MIB else f"  over {LIMIT_MIB} MiB"))
    write_json(given.out, found)


def measure(folder: Path, count: int, size: int) -> dict[str, float]:
    """Peak MiB by stage."""
    variants = ("augment.variants=[color_1]", "train_head.schedule=[unaugmented x 1]", "augment.workers=1")
    place = Place(folder, (*variants, f"prepare.size={size}", f"augment.size={size}", "featurize.size=32"))
    make_photos(place.photos, range(count), size)
    peaks = {}
    for stage in ("prepare", "augment", "featurize"):
        cost = place.run(stage)
        print(cost.summary, flush=True)
        peaks[stage] = cost.peak_mib
    return peaks


if __name__ == "__main__":
    main()
