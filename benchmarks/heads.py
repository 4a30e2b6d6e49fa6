"""Many heads in one pass against one after another: head-rows per second, and what successive halving saves.

    python benchmarks/heads.py [--rows 20000] [--heads 16] [--classes 200] [--batch 512] [--epochs 3]

Synthetic features of 1,280 columns, float16; both ways in this process, on the GPU if there is one, the median of
three runs. Halving drops half of the heads after each third of the epochs.
"""

import argparse
from itertools import pairwise
from pathlib import Path

from stage_runs import ROOT, machine, matmul_rate, median_seconds, synthetic_features, write_json

from cache.records import FeatureSet
from pipeline.config.params import read_params
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.fit import fit_head
from pipeline.heads.halving import make_sweep_data, run_pass
from pipeline.heads.spec import HeadSpec, spec_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/heads.json"))
    given = parser.parse_args()
    train, val = (synthetic_features(rows, given.classes, seed) for seed, rows in enumerate((given.rows, 2_000)))
    flops = matmul_rate()
    print(f"{machine()}; matrix products here: {flops / 1e9:,.0f} GFLOP/s\n")
    columns = f"{'one by one':>14}{'one pass':>14}{'ratio':>8}{'halved':>10}{'of the limit':>14}{'one pass':>12}"
    print(f"{'hidden':<10}{columns}   head-rows/s")
    results = {}
    for hidden in ((), (512,)):
        overrides = [f"train_head.hidden={list(hidden)}", f"train_head.batch={given.batch}"]
        rates = measure(train, val, overrides, given)
        first, *others = (
            inputs * outputs for inputs, outputs in pairwise([train.features.shape[1], *hidden, given.classes])
        )
        limit = flops / (4 * first + 6 * sum(others))  # nobody needs the gradient of the features
        name = "x".join(map(str, hidden)) or "linear"
        results[name] = {**rates, "limit": limit}
        ratios = f"{rates['together'] / rates['apart']:>8.2f}{rates['halved'] / rates['apart']:>9.2f}x"
        share = f"{rates['together'] / limit:>13.0%}"
        spent = given.epochs * given.rows * given.heads / rates["together"]
        print(f"{name:<10}{rates['apart']:>14,.0f}{rates['together']:>14,.0f}{ratios}{share}{spent:>10.1f} s")
    sizes = {name: getattr(given, name) for name in ("rows", "heads", "classes", "batch", "epochs")}
    write_json(given.out, {"machine": machine(), **sizes, "results": results})


def measure(train: FeatureSet, val: FeatureSet, overrides: list[str], given: argparse.Namespace) -> dict[str, float]:
    """Head-rows per second: one head after another, all in one pass, and with half of them dropped after each phase."""
    heads = given.heads
    third = max(1, given.epochs // 3)
    lengths = (third, third, max(1, given.epochs - 2 * third))
    phases = f"train_head.schedule=[{', '.join(f'unaugmented x {length}' for length in lengths)}]"
    config = read_params(ROOT / "params.yaml", [*overrides, phases, "train_head.dropout=0"]).train_head
    assert isinstance(config, TrainHeadConfig)
    hidden = spec_of(config, 1280).hidden
    specs = [HeadSpec(hidden, 0.001 * (1 + number), 0.01, 0.0, 0.1) for number in range(heads)]
    sets = {"unaugmented": train}, {"unaugmented": val}

    def together(keep: float) -> None:
        run_pass(specs, make_sweep_data(*sets, config), config, keep)

    work = given.epochs * len(train)
    return {
        "apart": work / median_seconds(lambda: fit_head(*sets, config)),
        "together": work * heads / median_seconds(lambda: together(1.0)),
        "halved": work * heads / median_seconds(lambda: together(0.5)),
    }


if __name__ == "__main__":
    main()
