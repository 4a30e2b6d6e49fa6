"""Train an MLP head over cached features, on a staged schedule.

Reads data/featurize/train-<variant>.h5 and val-<variant>.h5; writes data/train_head/: head.safetensors and
classifier.json (the epoch that is best on val-unaugmented), curves.csv and metrics.json. The schedule is a list of
phases, such as `spatial_1 x 2`. Nothing is featurized here, so another head costs seconds:
  python -m stages.train_head --out /tmp/wide --set train_head.hidden=[2048] --set train_head.lr=0.001
"""

import json

from cache.files import write_text
from pipeline.metrics.csv_text import curves_csv
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Train, save, write curves; return the summary."""
    from pipeline.heads.fit import fit_head
    from pipeline.heads.sample_filter import keep_convincing
    from pipeline.inference.classifier import HeadClassifier, save_classifier

    config = job.params.train_head
    train, val = (job.features(split) for split in ("train", "val"))
    train, dropped = keep_convincing(train, val, config)
    rows = sum(phase.epochs * len(train.get(phase.variant, ())) for phase in config.schedule)
    with job.progress(rows, "row") as advance:
        fit = fit_head(train, val, config, advance)
    first = train[config.schedule[0].variant]
    save_classifier(job.out, HeadClassifier(fit.head, first.classes, first.recipe, fit.temperature))
    write_text(job.out / "curves.csv", curves_csv(fit.curves))
    best = fit.curves[fit.best_epoch - 1]
    chosen = {key: best[key] for key in ("val_accuracy", "val_loss", "train_accuracy", "train_loss") if key in best}
    write_text(job.out / "metrics.json", json.dumps({"best_epoch": fit.best_epoch, **chosen}, indent=2) + "\n")
    job.facts.update(rows=rows)
    accuracy = f"val accuracy {best['val_accuracy']:.1%}" if "val_accuracy" in best else "no validation set"
    lost = f", {dropped:,} samples filtered out" if dropped else ""
    return f"{accuracy} at epoch {fit.best_epoch} of {len(fit.curves)}, {rows:,} rows{lost}"


if __name__ == "__main__":
    run_stage("train_head", run)
