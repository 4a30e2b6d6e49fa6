"""Train a head over cached features: chosen by evidence where values are `auto`, else exactly as named.

\b
Reads   data/featurize/train-<variant>.h5 and val-<variant>.h5
Writes  data/train_head/head.safetensors, classifier.json   the head
        .../curves.csv       each epoch of the best head that was trained on the schedule
        .../candidates.csv   the linear heads that were solved, how good each is, and its share in the result
        .../last_layer/      if features are of several layers: a head over the last one, to start fine-tuning from
        .../metrics.json     the result on val; best_epoch is 0 for a head that was solved

Linear heads (logistic regression and discriminant analysis, with and without augmented rows, over the last layer and
over all that featurize.layers names) are solved at several strengths and blended; heads with a hidden layer are trained
on the schedule, a list of phases such as `spatial_1 x 2`.
Folds of train decide if val is small. Nothing is featurized here, so another head costs seconds:
  python -m stages.train_head --out /tmp/wide --set train_head.hidden=[2048] --set train_head.lr=0.001
"""

import json
import shutil

from cache.files import write_text
from pipeline.metrics.csv_text import curves_csv, rows_csv
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Choose or train, save, write tables; return the summary."""
    from pipeline.heads.choice_tables import choice_metrics, choice_summary
    from pipeline.heads.choose import choose_head
    from pipeline.heads.groups import last_layer_recipe
    from pipeline.heads.linear import LinearCandidate
    from pipeline.heads.sample_filter import keep_convincing
    from pipeline.heads.stack_trainer import head_precision
    from pipeline.inference.classifier import LAST_LAYER_FOLDER, HeadClassifier, save_classifier

    config = job.params.train_head
    train, val = (job.features(split) for split in ("train", "val"))
    train, dropped = keep_convincing(train, val, config)
    rows = sum(phase.epochs * len(train.get(phase.variant, ())) for phase in config.schedule)
    with job.watch(rows, "row") as watch:
        choice = choose_head(train, val, config, watch)
    first = train[config.schedule[0].variant]
    save_classifier(job.out, HeadClassifier(choice.fit.head, first.classes, first.recipe, choice.fit.temperature))
    last_layer = job.out / LAST_LAYER_FOLDER
    shutil.rmtree(last_layer, ignore_errors=True)
    if choice.last_layer:
        recipe = last_layer_recipe(first.recipe)
        save_classifier(last_layer, HeadClassifier(choice.last_layer, first.classes, recipe))
    write_text(job.out / "curves.csv", curves_csv(choice.fit.curves))
    write_text(job.out / "candidates.csv", rows_csv(LinearCandidate, choice.linear))
    metrics = choice_metrics(choice, val)
    write_text(job.out / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    job.facts.update(rows=rows, precision=head_precision(config))
    lost = f", {dropped:,} samples filtered out" if dropped else ""
    return f"{choice_summary(choice, metrics)}, {rows:,} rows{lost}"


if __name__ == "__main__":
    run_stage("train_head", run)
