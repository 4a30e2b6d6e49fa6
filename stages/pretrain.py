"""Train a backbone of your own by AdvProp on a prepared ImageSet; no stage of dvc.yaml.

Reads data/prepare/train.h5 and, for its curves, val.h5 where there is one. Writes data/pretrain/:
backbone.safetensors (float16, without classifier and auxiliary norms; for `featurize.weights`, together with
`featurize.preprocessing=advprop`), network.safetensors (float32, with its classifier), curves.csv and metrics.json.
Checkpoints lie in the store, so a killed run resumes where it stopped, and ends with the same bytes:
  python -m stages.pretrain --set pretrain.epochs=30
"""

import json

from cache.files import write_bytes, write_text
from cache.reader import read_images
from cache.records import UNAUGMENTED
from pipeline.metrics.csv_text import curves_csv
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Train, save, write curves; return the summary."""
    from pipeline.features.backbone import make_backbone
    from pipeline.training.fit import fit_model
    from pipeline.training.pretrain import pretrain_recipe, pretrain_start, saved_backbone, saved_network

    config = job.params.pretrain
    sets = {split: read_images(path) for split, path in job.inputs("prepare").items()}
    train = sets["train"]
    val = {UNAUGMENTED: sets["val"]} if "val" in sets else {}
    init = None if config.init is None else make_backbone(config.backbone, config.init, config.sizes[-1])
    start = pretrain_start(config, len(train.classes), init)
    with job.watch(config.epochs * len(train), "image") as watch:
        trained = next(fit_model({UNAUGMENTED: train}, val, pretrain_recipe(config), config, watch, start))
    trained.network.load_state_dict(trained.last)
    write_bytes(job.out / "network.safetensors", saved_network(trained.network))
    write_bytes(job.out / "backbone.safetensors", saved_backbone(trained.network))
    write_text(job.out / "curves.csv", curves_csv(trained.curves))
    write_text(job.out / "metrics.json", json.dumps(trained.curves[-1], indent=2) + "\n")
    job.facts.update(rows=len(train), epochs=config.epochs)
    last = trained.curves[-1]
    accuracy = f"val accuracy {last['val_accuracy']:.1%}" if "val_accuracy" in last else "no validation set"
    return f"{config.backbone} on {len(train):,} images, {config.epochs} epochs: {accuracy}"


if __name__ == "__main__":
    run_stage("pretrain", run)
