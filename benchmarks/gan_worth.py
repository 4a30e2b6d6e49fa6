"""Do GAN samples help a head? With and without them in the schedule, by report 001's networks and by the better one.

    python benchmarks/gan_worth.py --source cifar-10/train --per-class 20 --val 20 --test 100 [--seeds 5]
        [--set featurize.backbone=timm:tf_efficientnetv2_b0 featurize.weights=FILE ...]

For each GAN a head is trained on eight epochs of images, with two of them replaced by samples (the first two, so that
every epoch that can be kept has seen them, or two in the middle), and with the first two after dropping the samples
that a head without them finds unlike their class (`--filter`). Equal epochs, other seeds of the head; one draw of
images and one GAN of each kind. On val the kind is chosen, test is reported.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stage_runs import machine, run_stages, write_json

from cache.records import UNAUGMENTED, FeatureSet
from pipeline.config.shared.variants import GAN_VARIANT
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.fit import fit_head
from pipeline.heads.sample_filter import keep_convincing
from pipeline.metrics.sample_quality import measure_samples
from pipeline.networks.head import predict_logits

FIRST = "gan_1 x 2, unaugmented x 6"
SCHEDULES = {
    "without": "unaugmented x 8",
    "first": FIRST,
    "first, filtered": FIRST,
    "in the middle": "unaugmented x 3, gan_1 x 2, unaugmented x 3",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True)
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--val", default="20")
    parser.add_argument("--test", default="100")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--filter", type=float, default=0.5)
    parser.add_argument("--kinds", nargs="+", default=["wgan", "conv"])
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--folder", type=Path, help="keep data and checkpoints here, to go on after a stop")
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/gan_worth.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        os.environ["AUGCACHE_STORE"] = str(folder / "store")
        results = {kind: of_kind(folder / kind, kind, given) for kind in given.kinds}
    print(f"{given.source}, {given.per_class} images per class, {given.seeds} seeds; {machine()}")
    print(f"{'GAN':<8}{'head':<20}{'val':>16}{'test':>16}{'against without':>24}")
    for kind, result in results.items():
        for name, figures in result["heads"].items():
            change = 100 * (np.array(figures["test"]) - np.array(result["heads"]["without"]["test"]))
            cells = "".join(f"{percent(figures[split]):>16}" for split in ("val", "test"))
            print(f"{kind:<8}{name:<20}{cells}{change.mean():>+15.2f} ± {change.std(ddof=1):.2f}")
        quality = ", ".join(f"{name} {value:.3g}" for name, value in result["samples"].items())
        print(f"{'':<8}{result['kept']:.0%} of samples pass the filter; {quality}")
    write_json(given.out, {"machine": machine(), "given": {k: str(v) for k, v in vars(given).items()}, **results})


def of_kind(data: Path, kind: str, given: argparse.Namespace) -> dict[str, Any]:
    """Heads with and without the samples of one kind of GAN, and what the samples are like."""
    places = [f"prepare.source={given.source}", f"prepare.val={given.val}", f"prepare.test={given.test}"]
    chosen = [*places, f"prepare.limit_per_class={given.per_class}", "augment.variants=[]", f"gan.kind={kind}"]
    named = [f"train_head.schedule=[{FIRST}]", *given.set]
    job = run_stages(data, [*chosen, *named], ["prepare", "gan", "featurize"])
    train, val, test = (job.features(split) for split in ("train", "val", "test"))
    results: dict[str, Any] = {"heads": {name: {"val": [], "test": []} for name in SCHEDULES}}
    for name, schedule in SCHEDULES.items():
        for seed in range(given.seeds):
            share = given.filter if "filtered" in name else 0
            own = {"schedule": schedule.split(", "), "seed": seed, "gan_filter": share}
            config = TrainHeadConfig.model_validate(job.params.train_head.model_dump(mode="json") | own)
            used, dropped = keep_convincing(train, val, config)
            head = fit_head(used, val, config).head
            for split, features in (("val", val), ("test", test)):
                results["heads"][name][split].append(accuracy(head, features[UNAUGMENTED]))
            if "filtered" in name:
                results["kept"] = 1 - dropped / len(train[GAN_VARIANT])
    results["samples"] = measure_samples(train[GAN_VARIANT], train[UNAUGMENTED], val[UNAUGMENTED], 0.85)
    return results


def accuracy(head: Any, features: FeatureSet) -> float:
    predicted = predict_logits(head, torch.from_numpy(features.features[:])).argmax(dim=1)
    return float(np.mean(predicted.numpy() == features.labels))


def percent(values: list[float]) -> str:
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f} %"


if __name__ == "__main__":
    main()
