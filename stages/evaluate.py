"""Judge the trained head on the test split, clean and for each augmented variant.

\b
Reads   data/featurize/test-<variant>.h5  features of the test images
        data/train_head/                  the trained head
Writes  data/evaluate/metrics.json        top-1, top-5 and macro F1 with their intervals, per variant
        .../per_class.csv                 support, precision, recall and F1 of each class, per variant
        .../confusion.csv                 actual and predicted class of each test image, unaugmented
        .../confused.csv, mistakes.csv    worst pairs, most confident mistakes; and predictions-<variant>.npz

Nothing is chosen by these figures. Intervals are Wilson's for accuracies, a bootstrap over images for macro F1.
"""

from cache.reader import read_features
from cache.records import UNAUGMENTED
from cache.writer import write_bytes, write_text
from pipeline.config.evaluate import EvaluateConfig
from pipeline.evaluate import Report, evaluate
from pipeline.predictions import to_npz
from pipeline.tables import error_tables, metrics_json, per_class_csv, variant_order
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Predict and judge every test variant, write the figures, return the summary."""
    from pipeline.classifier import load_classifier

    config = job.section(EvaluateConfig)
    found = {name.removeprefix("test-") for name in job.inputs("featurize", "test-*.h5")}
    wanted = sorted({UNAUGMENTED} | found if found else found, key=variant_order)
    classifier = load_classifier(job.data / "train_head")
    for old in job.out.glob("predictions-*.npz"):  # of variants that are gone
        old.unlink()
    reports: list[Report] = []
    tables = error_tables([], [], config.worst)  # headers alone where there is no test split
    with job.progress(len(wanted), "variants") as advance:
        for variant in wanted:
            predictions = classifier.predict(read_features(job.data / "featurize" / f"test-{variant}.h5"))
            reports.append(evaluate(predictions, config.confidence))
            write_bytes(job.out / f"predictions-{variant}.npz", to_npz(predictions))
            if variant == UNAUGMENTED:
                tables = error_tables(reports, [predictions], config.worst)
            advance(1)
    figures = {"per_class.csv": per_class_csv(reports), "metrics.json": metrics_json(reports)}
    for name, text in {**tables, **figures}.items():
        write_text(job.out / name, text)
    job.facts["rows"] = sum(report.n for report in reports)
    return _summary(reports)


def _summary(reports: list[Report]) -> str:
    if not reports:
        return "no test split (prepare.test is none), so nothing to judge"
    worst = min(reports[1:], key=lambda report: report.top1.value, default=None)
    variant = f", worst variant {worst.variant} {100 * worst.top1.value:.1f} %" if worst else ""
    return f"top-1 {reports[0].top1.percent()} on {reports[0].n:,} test images{variant}"


if __name__ == "__main__":
    run_stage("evaluate", run)
