"""Train a full model over cached images by a named recipe, on a staged schedule; `none` trains nothing.

\b
  python -m stages.train_model --recipe finetune --set 'train_model.override={schedule: [all x 9], batch: 64}'
Reads data/prepare, augment and gan; data/train_head for `finetune`, which starts from that head over its backbone.
Writes model.safetensors, classifier.json, last.safetensors, curves.csv and metrics.json to data/train_model.
"""

import json

from cache.files import write_bytes, write_text
from pipeline.config.recipe import read_recipe
from pipeline.config.train_model import OFF
from pipeline.metrics.csv_text import curves_csv
from pipeline.training.tensorboard import tensorboard
from stages._cli import Job, run_stage_with_flag


def run(job: Job) -> str:
    """Train, save, write curves; return the summary."""
    config = job.params.train_model
    if config.recipe == OFF:
        write_text(job.out / "metrics.json", "{}\n")
        write_text(job.out / "curves.csv", curves_csv([]))
        return "off (train_model.recipe is none)"
    from pipeline.config.shared.schedule import images_trained
    from pipeline.features.featurizer import stored_as
    from pipeline.inference.classifier import make_model_classifier, save_classifier, weights_of
    from pipeline.inference.restore import Project, open_start
    from pipeline.training.fit import fit_model
    from pipeline.training.tables import model_metrics, model_summary

    recipe = read_recipe(config.recipe, config.override)
    train, val = (job.images(split) for split in ("train", "val"))
    project = Project(job.data, job.params.featurize, {})
    start = open_start(job.data / "train_head", project) if recipe.fine_tunes else None
    rows = config.seeds * images_trained(recipe.schedule, train)
    with job.watch(rows, "image") as watch, tensorboard(config.tensorboard, watch) as logged:
        fits = fit_model(train, val, recipe, config, logged, start)
        first = next(fits)
        kept = [first.kept, *(fit.kept for fit in fits)]  # the other networks are let go
    unaugmented = next(iter(train.values()))
    made_by = first.describe(config.recipe) | stored_as(unaugmented)
    save_classifier(job.out, make_model_classifier(first.network, unaugmented.classes, made_by, first.temperature))
    write_bytes(job.out / "last.safetensors", weights_of(first.last))
    write_text(job.out / "curves.csv", curves_csv(first.curves))
    write_text(job.out / "metrics.json", json.dumps(model_metrics(first, kept), indent=2) + "\n")
    job.facts.update(rows=rows, recipe=config.recipe)
    return model_summary(config.recipe, first, kept)


if __name__ == "__main__":
    run_stage_with_flag("train_model", run, "recipe")
