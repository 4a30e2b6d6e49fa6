"""Does AdvProp matter for few images? Heads over features trained with AdvProp, trained plainly, and random ones.

    python benchmarks/advprop.py --plain plain/backbone.safetensors --cifar cifar-10/train [--per-class 20] [--seeds 5]

A seed draws other training, val and test images, and another head. Columns: accuracy on clean test images, on their
augmented variants (mean over variants), and under PGD (white box, through backbone and head) on test images.
`--plain` is a network that `python -m stages.pretrain --set pretrain.attack_steps=0` trained for the same compute.
"""

import argparse
import os
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from stage_runs import machine, run_stages, write_json

from cache.records import UNAUGMENTED
from pipeline.config.evaluate import AttackConfig
from pipeline.evaluation.robustness import make_robustness_sample, pixels_of
from pipeline.heads.fit import fit_head
from pipeline.inference.classifier import HeadClassifier

ATTACKS = [AttackConfig(eps=eps, steps=10, restarts=1) for eps in (0.5, 1.0, 2.0)]
PROBED = 200
DIGITS = ["prepare.source=pipeline/digits.txt", "prepare.val=10", "prepare.test=50"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plain", type=Path, required=True)
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/advprop.json"))
    given = parser.parse_args()
    sources = {"digits": DIGITS}
    if given.cifar:
        sources["CIFAR-10"] = [f"prepare.source={given.cifar}", "prepare.val=20", "prepare.test=100"]
    weights = {
        "AdvProp": ["featurize.weights=advprop"],
        "plain": [f"featurize.weights={given.plain}", "featurize.preprocessing=advprop"],
        "random": ["featurize.weights=random", "featurize.preprocessing=advprop"],
    }
    results: dict[str, dict[str, dict[str, list[float]]]] = {}
    for source, chosen in sources.items():
        results[source] = {name: defaultdict(list) for name in weights}
        for seed in range(given.seeds):
            drawn = [*chosen, f"prepare.limit_per_class={given.per_class}", f"prepare.seed={seed}"]
            with tempfile.TemporaryDirectory() as folder:
                os.environ["AUGCACHE_STORE"] = f"{folder}/store"
                for name, own in weights.items():
                    shutil.rmtree(Path(folder) / "data" / "featurize", ignore_errors=True)
                    figures = run(Path(folder) / "data", [*drawn, *own, f"train_head.seed={seed}"])
                    for figure, value in figures.items():
                        results[source][name][figure].append(value)
    columns = list(results["digits"]["AdvProp"])
    print(f"{given.per_class} images per class, {given.seeds} seeds, mean and deviation in %; {machine()}")
    print(f"{'':<20}" + "".join(f"{column:>18}" for column in columns))
    for source, rows in results.items():
        for name, by_column in rows.items():
            cells = [
                f"{100 * np.mean(by_column[column]):.1f} ± {100 * np.std(by_column[column], ddof=1):.1f}"
                for column in columns
            ]
            print(f"{source + ', ' + name:<20}" + "".join(f"{cell:>18}" for cell in cells))
    write_json(given.out, {"machine": machine(), "per_class": given.per_class, "results": results})


def run(data: Path, overrides: list[str]) -> dict[str, float]:
    """Accuracy of one head: clean, augmented, attacked."""
    run_stages(data, overrides, ["prepare", "augment"])
    job = run_stages(data, overrides, ["featurize"])
    train, val, test = (job.features(split) for split in ("train", "val", "test"))
    fit = fit_head(train, val, job.params.train_head)
    plain = test[UNAUGMENTED]
    classifier = HeadClassifier(fit.head, plain.classes, plain.recipe, fit.temperature)
    right = {variant: float(classifier.predict(rows).correct.mean()) for variant, rows in test.items()}
    augmented = float(np.mean([value for variant, value in right.items() if variant != UNAUGMENTED]))
    images = job.images("test")[UNAUGMENTED]
    sample = make_robustness_sample(pixels_of(classifier, job.params.featurize, images, plain), images, PROBED)
    _, *attacked = (float(predictions.correct.mean()) for predictions in sample.attacked(ATTACKS))
    named = {f"PGD eps {attack.eps:g}": value for attack, value in zip(ATTACKS, attacked, strict=True)}
    return {"clean": right[UNAUGMENTED], "augmented": augmented, **named}


if __name__ == "__main__":
    main()
