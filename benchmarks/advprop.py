"""Does AdvProp pay with few images? Tuned linear heads on features of weights trained with AdvProp and of others.

    python benchmarks/advprop.py --cifar cifar-10 [--plain plain/backbone.safetensors] [--per-class 20 50] [--seeds 5]

A seed draws other training images, and other ones to attack. The head is the pipeline's own, linear, chosen by
cross-validation on unaugmented images. Columns: accuracy on clean test images, under PGD (white box, through backbone
and head, ten steps, eps of 0..255), and the mean over eight corruptions of severity 3, both of `--attacked` test
images. `--plain` is a network that `python -m stages.pretrain --set pretrain.attack_steps=0` trained from the same
start for the same images. The official test split of CIFAR-10 is the same for all seeds; the digits are split anew.
"""

import argparse
import os
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import get_args

import numpy as np
from stage_runs import machine, run_stages, write_json

from cache.records import UNAUGMENTED
from pipeline.config.evaluate import AttackConfig, CorruptionName
from pipeline.evaluation.robustness import make_robustness_sample, pixels_of
from pipeline.heads.choose import choose_head
from pipeline.inference.classifier import HeadClassifier

ATTACKS = [AttackConfig(eps=eps, steps=10, restarts=1) for eps in (1.0, 2.0)]
SEVERITY = 3
DIGITS = ["prepare.source=pipeline/digits.txt", "prepare.val=none", "prepare.test=50"]
WHOLE = [
    "augment.variants=[]",
    "train_head.schedule=[unaugmented x 1]",
    "train_head.hidden=[]",
    "featurize.backbone=efficientnet-lite0",
    *(f"{stage}.size=64" for stage in ("prepare", "augment", "featurize")),
]
Columns = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plain", type=Path)
    parser.add_argument("--only", nargs="+", choices=["ImageNet", "AdvProp", "plain"], help="all otherwise")
    parser.add_argument("--cifar", type=Path, help="a folder with train and test")
    parser.add_argument("--per-class", type=int, nargs="+", default=[20, 50])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--attacked", type=int, default=128)
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/advprop.json"))
    given = parser.parse_args()
    sources = {"digits": DIGITS}
    if given.cifar:
        sources["CIFAR-10"] = [f"prepare.source={given.cifar}", "prepare.val=none", "prepare.test=official"]
    weights = {"ImageNet": ["featurize.weights=imagenet"], "AdvProp": ["featurize.weights=advprop"]}
    if given.plain:
        weights["plain"] = [f"featurize.weights={given.plain}", "featurize.preprocessing=advprop"]
    weights = {name: own for name, own in weights.items() if name in (given.only or weights)}
    results: dict[str, Columns] = {}
    print(f"{given.seeds} seeds, mean and standard deviation in %; {machine()}")
    for source, chosen in sources.items():
        for count in given.per_class:
            rows = {name: f"{source}, {count}, {name}" for name in weights}
            results |= {row: defaultdict(list) for row in rows.values()}
            for seed in range(given.seeds):
                drawn = [*WHOLE, *chosen, f"prepare.limit_per_class={count}", f"prepare.seed={seed}"]
                measure(drawn, weights, given.attacked, {name: results[row] for name, row in rows.items()})
            for row in rows.values():
                print_row(row, results[row])
            write_json(given.out, {"machine": machine(), "seeds": given.seeds, "results": results})


def measure(drawn: list[str], weights: dict[str, list[str]], attacked: int, results: dict[str, Columns]) -> None:
    """One draw of images through all weights; figures are appended to the results of each."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AUGCACHE_STORE"] = f"{folder}/store"
        for name, own in weights.items():
            data = Path(folder) / "data"
            shutil.rmtree(data / "featurize", ignore_errors=True)
            for figure, value in figures_of(data, [*drawn, *own], attacked).items():
                results[name][figure].append(value)


def figures_of(data: Path, overrides: list[str], attacked: int) -> dict[str, float]:
    """Accuracy of a head: clean, attacked, corrupted."""
    run_stages(data, overrides, ["prepare", "augment"])
    job = run_stages(data, overrides, ["featurize"])
    choice = choose_head(job.features("train"), {}, job.params.train_head)
    test = job.features("test")[UNAUGMENTED]
    classifier = HeadClassifier(choice.fit.head, test.classes, test.recipe, choice.fit.temperature)
    clean = float(classifier.predict(test).correct.mean())
    images = job.images("test")[UNAUGMENTED]
    sample = make_robustness_sample(pixels_of(classifier, job.params.featurize, images, test), images, attacked)
    _, *under_attack = (float(predictions.correct.mean()) for predictions in sample.attacked(ATTACKS))
    _, *corrupted = sample.corrupted(get_args(CorruptionName), [SEVERITY])
    return {
        "clean": clean,
        **{f"PGD {attack.eps:g}": value for attack, value in zip(ATTACKS, under_attack, strict=True)},
        "corrupted": float(np.mean([predictions.correct.mean() for predictions in corrupted])),
    }


def print_row(name: str, columns: Columns) -> None:
    cells = (
        f"{column} {100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=min(1, len(values) - 1)):.1f}"
        for column, values in columns.items()
    )
    print(f"{name:<26}" + "".join(f"{cell:>24}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
