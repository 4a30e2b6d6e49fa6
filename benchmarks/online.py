"""The cached pipeline against augmenting and featurizing in every epoch: the first head, the second, the 100th.

    python benchmarks/online.py [--images 200] [--backbone efficientnet-b0] [--size 128]

Both train the same head on the six phases of params.yaml over the same images. Cached: augment, featurize and
train_head, then train_head again. Online: what most code does, in every epoch each image is augmented (the same imgaug
policy, in batches), goes through the same eager backbone, and the head takes a step; one epoch of each kind of phase
is measured, and the schedule counts how many there are. Imports are left out on both sides.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from stage_runs import machine, make_photos, run_stages, synthetic_features, write_json
from torch.nn import functional

from cache.layout import Array
from cache.records import UNAUGMENTED
from pipeline.augmentation.imgaug_engine import make_sequence
from pipeline.augmentation.policy import make_augmentation
from pipeline.config.params import Params
from pipeline.config.shared.schedule import Phase, epochs_of
from pipeline.features.backbone import make_backbone
from pipeline.heads.fit import fit_head
from pipeline.heads.spec import spec_of
from pipeline.networks.head import Head
from pipeline.networks.resize import resized

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--backbone", default="efficientnet-b0")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/online.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AUGCACHE_STORE"] = f"{folder}/store"
        make_photos(Path(folder) / "photos", range(given.images), given.size)
        places = [f"prepare.source={folder}/photos", "prepare.val=none", "prepare.test=none"]
        sizes = [f"{stage}.size={given.size}" for stage in ("prepare", "augment", "featurize")]
        backbone = [f"featurize.backbone={given.backbone}", "featurize.weights=random", "featurize.device=cpu"]
        chosen = [*places, *sizes, *backbone]
        data = Path(folder) / "data"
        images = run_stages(data, chosen, ["prepare"]).images("train")[UNAUGMENTED]
        job = run_stages(data, chosen, ["prepare"])
        head = job.params.train_head
        phase = head.model_copy(update={"schedule": [Phase(UNAUGMENTED, 1)]})
        fit_head(
            {UNAUGMENTED: synthetic_features(64, 10, 0)}, {}, phase
        )  # torch imports its compiler with an optimizer
        first = seconds(lambda: run_stages(data, chosen, ["augment", "featurize"]))
        train = job.features("train")
        second = seconds(lambda: fit_head(train, {}, head))
        epochs = list(epochs_of(head.schedule))
        kinds = {variant: online_epoch(images.images[:], images.labels, variant, job.params) for variant in set(epochs)}
    online = sum(kinds[variant] for variant in epochs)
    rows = {"first head": (first + second, online), "second head": (second, online)}
    rows["100 heads"] = (first + 100 * second, 100 * online)
    print(f"{given.images} images, {given.backbone} at {given.size} px, {len(epochs)} epochs; {machine()}")
    print(f"{'':<14}{'cached, s':>12}{'online, s':>12}{'ratio':>9}")
    for name, (cached, every) in rows.items():
        print(f"{name:<14}{cached:>12.2f}{every:>12.1f}{every / cached:>8.1f}x")
    write_json(given.out, {"machine": machine(), "images": given.images, "backbone": given.backbone, "rows": rows})


def online_epoch(images: Array, labels: Array, variant: str, params: Params) -> float:
    """Seconds of one epoch that augments, featurizes and trains."""
    augment = params.augment
    featurize = params.featurize
    head = params.train_head
    backbone = make_backbone(*featurize.backbone_arguments)
    sequence = None
    if variant != UNAUGMENTED:
        sequence = make_sequence(json.loads(make_augmentation(augment, variant).steps))
    with torch.no_grad():
        width = backbone.network(torch.zeros(1, 3, featurize.size, featurize.size)).shape[1]
    spec = spec_of(head, width)
    learner = Head([width, *spec.hidden, 10], spec.dropout, 0.0)
    optimizer = torch.optim.AdamW(learner.parameters(), spec.lr)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) * 255 for values in (backbone.mean, backbone.std))

    def epoch() -> None:
        for index in np.array_split(np.random.default_rng(0).permutation(len(images)), -(-len(images) // BATCH)):
            drawn = list(images[index]) if sequence is None else sequence.augment_images(list(images[index]))
            pixels = [torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() for image in drawn]
            batch = torch.cat([resized(image, featurize.size) for image in pixels])
            with torch.no_grad():
                features = backbone.network((batch - mean) / std)
            loss = functional.cross_entropy(learner(features), torch.from_numpy(labels[index].astype(np.int64)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return seconds(epoch)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
