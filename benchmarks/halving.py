"""What does dropping losers save, and does it drop the winner? The grid of `sweep`, whole and halved between phases.

    python benchmarks/halving.py [--data data] [--seeds 3] [--set train_head.schedule=[...] sweep.keep=0.5 ...]

Over the features that an earlier run has cached. The price is counted in single heads: how many, of the grid's shapes
alike, `train_head` would have trained one after another in the time that the grid took. Both winners are then trained
from other seeds, for the spread.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

from stage_runs import ROOT, machine, median_seconds, write_json

from cache.records import FeatureSet
from pipeline.config.params import read_params
from pipeline.heads.ablation import repeated
from pipeline.heads.fit import fit_head
from pipeline.heads.halving import make_sweep_data, run_pass, winner
from pipeline.heads.search import grid
from pipeline.metrics.intervals import spread
from stages._cli import Job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/halving.json"))
    given = parser.parse_args()
    job = Job("sweep", read_params(ROOT / "params.yaml", given.set), given.data, given.data / "sweep", quiet=True)
    config = job.params.train_head
    sweep = job.params.sweep
    train = {name: in_memory(features) for name, features in job.features("train").items()}
    val = {"unaugmented": in_memory(job.features("val")["unaugmented"])}
    specs = grid(sweep, config.seed)
    shapes = [config.model_copy(update={"hidden": list(hidden)}) for hidden in sorted({spec.hidden for spec in specs})]
    alone = [median_seconds(lambda shape=shape: fit_head(train, val, shape)) for shape in shapes]  # type: ignore[misc]
    one_head = sum(alone) / len(alone)
    print(f"{len(specs)} heads, {len(train['unaugmented']):,} images, phases {config.schedule}; {machine()}")
    print(f"{'keep':>6}{'time':>10}{'price in single heads':>24}{'winner on val, over seeds':>30}")
    results = {}
    for keep in dict.fromkeys((1.0, sweep.keep)):
        started = time.perf_counter()
        data = make_sweep_data(train, val, config)
        best = winner(run_pass(specs, data, config, keep))
        spent = time.perf_counter() - started
        score = spread([trial.val_accuracy for trial in run_pass(repeated(best.spec, given.seeds), data, config)])
        print(f"{keep:>6}{spent:>8.1f} s{spent / one_head:>24.1f}{score.percent():>30}  {best.spec}")
        results[keep] = {"seconds": spent, "price": spent / one_head, "val": vars(score), "winner": str(best.spec)}
    write_json(given.out, {"machine": machine(), "heads": len(specs), "one_head": one_head, "results": results})


def in_memory(features: FeatureSet) -> FeatureSet:
    return replace(features, features=features.features[:])


if __name__ == "__main__":
    main()
