"""Judge the classifier on the test split: clean, augmented, corrupted and under attack, and look for leaks.

\b
Reads   data/train_head, or data/train_model where train_model.recipe names a full model
        data/featurize                     features of test, and of all splits to find near duplicates
        data/prepare, data/augment         images, for a full model and to attack and corrupt
Writes  data/evaluate/metrics.json         top-1, top-5, macro F1 with their intervals, and calibration error (ece)
        .../variants.csv                   what each cached variant is worth to the head, on val
        .../per_class.csv                  precision, recall and F1 of each class, and what it is taken for
        .../confusion.csv, confused.csv    actual and predicted class of each test image; the worst pairs
        .../mistakes.csv, calibration.csv, near_duplicates.csv
        .../predictions-<variant>.npz      for `python -m stages.compare`

Intervals are Wilson's for accuracies, a bootstrap over images for macro F1. Nothing is chosen by these figures.
"""

from collections.abc import Mapping
from typing import Any

from cache.files import remove_others, write_bytes
from cache.records import UNAUGMENTED
from pipeline.evaluation.tables import summary
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Predict and judge every test variant, attack and corrupt, write the figures, return the summary."""
    from pipeline.evaluation.evaluate import EvaluationInputs, judge
    from pipeline.evaluation.robustness import make_robustness_sample, pixels_of
    from pipeline.heads.ablation import ablate_schedule
    from pipeline.inference.classifier import ModelClassifier, load_classifier

    config, head = job.params.evaluate, job.params.train_head
    classifier = load_classifier(job.classifier_folder)
    splits = ("train", "val", "test")
    full, known = isinstance(classifier, ModelClassifier), job.has_made("featurize")
    features = {split: job.features(split) for split in splits if known or not full}
    sets: Mapping[str, Mapping[str, Any]] = {split: job.images(split) for split in splits} if full else features
    sample = None
    if sets["test"] and (config.attacks or config.corruptions):
        images = job.images("test")[UNAUGMENTED]
        pixels = pixels_of(classifier, job.params.featurize, images, features.get("test", {}).get(UNAUGMENTED))
        sample = make_robustness_sample(pixels, images, config.probe_images)
    worth = [] if full else ablate_schedule(features["train"], features["val"], head, config.worth_seeds)
    inputs = EvaluationInputs(classifier, sets, features, sample, worth)
    with job.progress(inputs.steps(config), "set") as advance:
        judged = judge(inputs, config, advance)
    remove_others(job.out, {job.out / name for name in judged.files}, "predictions-*.npz")
    for name, content in judged.files.items():
        write_bytes(job.out / name, content)
    job.facts["rows"] = sum(len(predictions) for predictions in judged.predictions)
    return summary(judged.groups)


if __name__ == "__main__":
    run_stage("evaluate", run)
