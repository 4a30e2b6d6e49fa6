"""Print the short table that ends `make demo`: what was made, how good it is, how long it took, what was cached."""

import json
import sys
from pathlib import Path

from cache.reader import read_features
from pipeline.config.params import STAGES

DATA = Path("data")


def main() -> None:
    """Print the table of the last run below data/."""
    metrics = json.loads((DATA / "evaluate" / "metrics.json").read_text(encoding="utf-8"))
    print(f"\n{'variant':<14}{'images':>9}{'top-1 on test':>16}  interval")
    for variant, figures in metrics["test"].items():
        paths = sorted((DATA / "featurize").glob(f"*-{variant}.h5"))
        images = sum(len(read_features(path)) for path in paths)
        interval = f"{figures['top1_low']:.1%} to {figures['top1_high']:.1%}"
        print(f"{variant:<14}{images:>9,}{figures['top1']:>16.1%}  {interval}")
    print(f"\n{'attack':<14}{'images':>9}{'top-1 on test':>16}  interval")
    for attack, figures in metrics["attacked"].items():
        interval = f"{figures['top1_low']:.1%} to {figures['top1_high']:.1%}"
        print(f"{attack:<14}{figures['n']:>9,}{figures['top1']:>16.1%}  {interval}")
    print(f"\n{'stage':<14}{'seconds':>9}{'from the cache':>16}  made")
    for stage in STAGES:
        path = DATA / "runs" / f"{stage}.json"
        if not path.exists():
            print(f"{stage:<14}{'':>9}{'':>16}  restored by DVC from its own cache")
            continue
        run = json.loads(path.read_text(encoding="utf-8"))
        cached = f"{run['cached']:,}" if "cached" in run else ""
        print(f"{stage:<14}{run['seconds']:>9.1f}{cached:>16}  {run['summary']}")
    print(f"\nreport: {(DATA / 'report' / 'index.html').absolute()}")


if __name__ == "__main__":
    try:
        main()
    except FileNotFoundError as error:
        print(f"error: {error.filename}: no such file. Run dvc repro first.", file=sys.stderr)
        sys.exit(2)
