"""Train a full model over cached images by a named recipe, on a staged schedule; `none` trains nothing.

\b
  python -m stages.train_model --recipe 002-v2-20-standard
  python -m stages.train_model --recipe 003-cbam --set 'train_model.override={schedule: [unaugmented x 9], batch: 64}'
  python -m stages.train_model --set train_model.recipe=004-final --set train_model.seeds=5
Recipes are pipeline/recipes/<name>.yaml; each says whose it is, the figure reported, and what we chose.

\b
Reads   data/prepare, augment, gan  images of train and val, by variant
Writes  data/train_model/           model.safetensors and classifier.json (the weights that are kept), last.safetensors,
                                    curves.csv, and metrics.json with mean and spread over seeds

Checkpoints lie in the store, so a killed run goes on where it was, and ends with the same bytes.
"""

import json
from statistics import mean, stdev

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
    from pipeline.inference.classifier import make_model_classifier, save_classifier, weights_of
    from pipeline.training.fit import fit_model

    recipe = read_recipe(config.recipe, config.override)
    train, val = job.images("train"), job.images("val")
    rows = config.seeds * sum(phase.epochs * len(train.get(phase.variant, ())) for phase in recipe.schedule)
    with tensorboard(config.tensorboard) as log, job.progress(rows, "image") as advance:
        fits = fit_model(train, val, recipe, config, advance, log)
        first = next(fits)
        kept = [first.kept, *(fit.kept for fit in fits)]  # the other networks are let go
    classes, made_by = next(iter(train.values())).classes, first.describe(config.recipe, recipe)
    save_classifier(job.out, make_model_classifier(first.network, classes, made_by, first.temperature))
    write_bytes(job.out / "last.safetensors", weights_of(first.last))
    write_text(job.out / "curves.csv", curves_csv(first.curves))
    found = [figures["val_accuracy"] for figures in kept if figures]
    spread = {"val_accuracy_mean": mean(found), "val_accuracy_std": stdev(found)} if len(found) > 1 else {}
    metrics = {"best_epoch": first.best_epoch, "parameters": first.parameters, **first.kept, **spread}
    write_text(job.out / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    job.facts.update(rows=rows, recipe=config.recipe)
    accuracy = f"val accuracy {found[0]:.1%}" if found else "no validation set"
    many = f", {mean(found):.1%} ± {stdev(found):.1%} over {len(found)} seeds" if spread else ""
    return f"{config.recipe}, {first.parameters:,} parameters: {accuracy} at epoch {first.best_epoch}{many}"


if __name__ == "__main__":
    run_stage_with_flag("train_model", run, "recipe")
