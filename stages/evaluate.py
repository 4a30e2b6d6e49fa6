"""Judge the trained head on the test split: clean, for each augmented variant, and under attack.

\b
Reads   data/featurize/test-<variant>.h5  features of the test images
        data/train_head/                  the trained head
        data/prepare/test.h5              images to attack, through backbone and head
Writes  data/evaluate/metrics.json        top-1, top-5 and macro F1 with their intervals, per variant and attack
        .../per_class.csv                 support, precision, recall and F1 of each class, per variant
        .../confusion.csv                 actual and predicted class of each test image, unaugmented
        .../confused.csv, mistakes.csv    worst pairs, most confident mistakes; and predictions-<variant>.npz

Nothing is chosen by these figures. Intervals are Wilson's for accuracies, a bootstrap over images for macro F1.
"""

from cache.reader import read_features, read_images
from cache.records import UNAUGMENTED
from cache.writer import write_bytes, write_text
from pipeline.config.evaluate import EvaluateConfig
from pipeline.config.featurize import FeaturizeConfig
from pipeline.evaluate import Report, evaluate
from pipeline.predictions import Predictions, to_npz
from pipeline.tables import error_tables, metrics_json, per_class_csv, summary, variant_order
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Predict and judge every test variant, attack, write the figures, return the summary."""
    from pipeline.classifier import load_classifier
    from pipeline.robustness import attack_all

    config = job.section(EvaluateConfig)
    found = {name.removeprefix("test-") for name in job.inputs("featurize", "test-*.h5")}
    wanted = sorted({UNAUGMENTED} | found if found else found, key=variant_order)
    classifier = load_classifier(job.data / "train_head")
    for old in job.out.glob("predictions-*.npz"):  # of variants that are gone
        old.unlink()
    reports: list[Report] = []
    clean: list[Predictions] = []
    for variant in wanted:
        predictions = classifier.predict(read_features(job.data / "featurize" / f"test-{variant}.h5"))
        reports.append(evaluate(predictions, config.confidence))
        write_bytes(job.out / f"predictions-{variant}.npz", to_npz(predictions))
        clean += [predictions] if variant == UNAUGMENTED else []
    attacked: list[Report] = []
    if reports and config.attacks:
        images = read_images(job.data / "prepare" / "test.h5")
        cached = read_features(job.data / "featurize" / f"test-{UNAUGMENTED}.h5")
        with job.progress(1 + len(config.attacks), "attack") as advance:
            for predictions in attack_all(classifier, images, cached, config, job.section(FeaturizeConfig)):
                attacked.append(evaluate(predictions, config.confidence))
                advance(1)
    write_text(job.out / "metrics.json", metrics_json(reports, attacked))
    for name, text in {**error_tables(reports[:1], clean, config.worst), **per_class_csv(reports)}.items():
        write_text(job.out / name, text)
    job.facts["rows"] = sum(report.n for report in reports)
    return summary(reports, attacked)


if __name__ == "__main__":
    run_stage("evaluate", run)
