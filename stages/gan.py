"""Train a GAN on the training images and draw samples of every class as the variant gan_1; off if gan.kind is none.

\b
  wgan  report 001's: one network of linear layers per class, with clipped weights, many classes side by side
  conv  one convolutional network over all classes, with differentiable augmentation for few images
Reads   data/prepare/train.h5     training images only
Writes  data/gan/train-gan_1.h5   samples
        data/gan/gan.json         samples, spread and failure of each class
        data/gan/losses.csv       of critic and generator, by class
        data/gan/class-<n>.png    samples over training time, one row per snapshot

To use them, name gan_1 in a schedule. Checkpoints lie in the store, so a killed run resumes where it stopped.
"""

import json

from cache.files import remove_others, write_bytes, write_text
from cache.reader import read_images
from cache.writer import write_images
from pipeline.config.gan import OFF
from pipeline.config.shared.variants import GAN_VARIANT
from pipeline.metrics.csv_text import to_csv
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Train, sample, write; return the summary."""
    config = job.params.gan
    if config.kind == OFF:
        remove_others(job.out, set(), "*.*")
        write_text(job.out / "gan.json", "{}\n")
        return "off (gan.kind is none)"
    from pipeline.gan.fit import image_set, iterations_of, train_gan
    from pipeline.gan.grid import grid_png

    train = read_images(job.inputs("prepare")["train"])
    with job.progress(iterations_of(train, config), "iteration") as advance:
        runs = train_gan(train, config, advance)
    samples = image_set(train, runs, config)
    write_images(job.out / f"train-{GAN_VARIANT}.h5", samples)
    grids = {job.out / f"class-{train.classes.index(run.name)}.png": grid_png(run.grid) for run in runs}
    remove_others(job.out, set(grids), "class-*.png")
    for path, content in grids.items():
        write_bytes(path, content)
    rows = [(run.name, *row) for run in runs for row in run.losses]
    write_text(job.out / "losses.csv", to_csv(("class", "iteration", "critic", "generator"), rows))
    outcomes = {run.name: {"samples": len(run.samples), "spread": run.spread, "failure": run.failure} for run in runs}
    write_text(job.out / "gan.json", json.dumps({"kind": config.kind, "classes": outcomes}, indent=2) + "\n")
    job.facts.update(rows=len(samples))
    failed = [run.name for run in runs if run.failure]
    lost = f", {len(failed)} failed: {', '.join(failed[:5])}" if failed else ""
    return f"{len(samples):,} samples of {len(runs) - len(failed):,} classes by {config.kind}{lost}"


if __name__ == "__main__":
    run_stage("gan", run)
