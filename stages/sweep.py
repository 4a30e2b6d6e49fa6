"""Find the best head: a grid in one pass over cached features, its seeds and folds, and what each variant is worth.

\b
Reads   data/featurize/        features of train and val; of test once, for the best head alone
Writes  data/sweep/heads.csv   every head of the grid: val accuracy, best epoch, epochs before it was dropped
        .../variants.csv       by how many points each variant raises val accuracy, overall and in each class
        .../metrics.json       the best head; mean and deviation over seeds on val and test, and over folds
        .../sweep.png          val accuracy of the grid over the learning rate
        .../head.safetensors, classifier.json   the best head, as train_head writes them

Heads share batches; losers are dropped between phases (`sweep.keep`). All but the grid is as in `train_head`:
  python -m stages.sweep --set 'sweep.lr=[0.003, 0.01]' --set sweep.folds=5
"""

from cache.files import write_bytes, write_text
from cache.records import UNAUGMENTED
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Search, save the best head, write tables and plot; return the summary."""
    from pipeline.heads.ablation import variant_gains_csv
    from pipeline.heads.search import rows_of_search, search
    from pipeline.heads.tables import draw, heads_csv, sweep_metrics
    from pipeline.inference.classifier import HeadClassifier, save_classifier

    config = job.params.sweep
    head = job.params.train_head
    train, val, test = (job.features(split) for split in ("train", "val", "test"))
    with job.progress(rows_of_search(train, config, head), "row") as advance:
        result = search(train, val, test.get(UNAUGMENTED), config, head, advance)
    first = train[UNAUGMENTED]
    save_classifier(job.out, HeadClassifier(result.head, first.classes, first.recipe, result.temperature))
    write_text(job.out / "heads.csv", heads_csv(result.heads))
    write_text(job.out / "variants.csv", variant_gains_csv(result.gains, first.classes))
    write_text(job.out / "metrics.json", sweep_metrics(result))
    write_bytes(job.out / "sweep.png", draw(result.heads))
    on_test = f", test {result.test.percent()}" if result.test else ""
    return f"best of {len(result.heads):,} heads: val {result.val.percent()} over {config.seeds} seeds{on_test}"


if __name__ == "__main__":
    run_stage("sweep", run)
