"""Judge the classifier on the test split: clean, augmented, corrupted and under attack, and look for leaks.

\b
Reads   data/train_head, or data/train_model where train_model.recipe names a full model
        data/featurize                     features of test, and of all splits to find near duplicates
        data/prepare, data/augment         images, for a full model and to attack and corrupt
Writes  data/evaluate/metrics.json         top-1, top-5, macro F1 with their intervals, and calibration error (ece)
        .../per_class.csv                  precision, recall and F1 of each class, and what it is taken for
        .../confusion.csv, confused.csv    actual and predicted class of each test image; the worst pairs
        .../mistakes.csv, calibration.csv, near_duplicates.csv
        .../predictions-<variant>.npz      for `python -m stages.compare`

Intervals are Wilson's for accuracies, a bootstrap over images for macro F1. Nothing is chosen by these figures.
"""

from collections.abc import Mapping
from typing import Any

from cache.records import UNAUGMENTED
from cache.writer import remove_others, write_bytes
from pipeline.config.evaluate import EvaluateConfig
from pipeline.config.featurize import FeaturizeConfig
from pipeline.config.gan import VARIANT as GAN_VARIANT
from pipeline.predictions import to_npz
from pipeline.tables import summary, variant_order
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Predict and judge every test variant, attack and corrupt, write the figures, return the summary."""
    from pipeline.classifier import ModelClassifier, load_classifier
    from pipeline.judge import Evidence, judge
    from pipeline.robustness import make_probe, pixels_of

    config = job.section(EvaluateConfig)
    classifier = load_classifier(job.classifier_folder)
    splits = ("train", "val", "test")
    full, known = isinstance(classifier, ModelClassifier), job.has_made("featurize")
    features = {split: job.features(split) for split in splits if known or not full}
    sets: Mapping[str, Mapping[str, Any]] = {split: job.images(split) for split in splits} if full else features
    test = dict(sorted(sets["test"].items(), key=lambda item: variant_order(item[0])))
    plain, cached = ({split: one[UNAUGMENTED] for split, one in each.items() if one} for each in (sets, features))
    probe = None
    if test and (config.attacks or config.corruptions):
        images = job.images("test")[UNAUGMENTED]
        pixels = pixels_of(classifier, job.section(FeaturizeConfig), images, cached.get("test"))
        probe = make_probe(pixels, images, config.probe_images)
    evidence = Evidence(classifier, test, plain, cached, probe, features.get("train", {}).get(GAN_VARIANT))
    with job.progress(evidence.steps(config), "set") as advance:
        judged = judge(evidence, config, advance)
    files = {f"predictions-{one.variant}.npz": to_npz(one) for one in judged.predictions}
    remove_others(job.out, {job.out / name for name in files}, "predictions-*.npz")
    for name, content in (files | {name: text.encode() for name, text in judged.texts.items()}).items():
        write_bytes(job.out / name, content)
    job.facts["rows"] = sum(len(predictions) for predictions in judged.predictions)
    return summary(judged.groups)


if __name__ == "__main__":
    run_stage("evaluate", run)
