"""Judge the trained head on the test split: clean, augmented, corrupted and under attack, and look for leaks.

\b
Reads   data/featurize/<split>-<variant>.h5  features of test; of train and val, to find near duplicates
        data/train_head/                     the trained head
        data/prepare/test.h5                 images to attack and corrupt, through backbone and head
Writes  data/evaluate/metrics.json           top-1, top-5, macro F1 with their intervals, and calibration error (ece)
        .../per_class.csv                    support, precision, recall and F1 of each class, per variant
        .../confusion.csv, confused.csv      actual and predicted class of each test image; the worst pairs
        .../mistakes.csv, calibration.csv    the most confident mistakes; accuracy by confidence
        .../near_duplicates.csv              held-out images with a near duplicate in train
        .../predictions-<variant>.npz        for `python -m stages.compare`

Nothing is chosen by these figures. Intervals are Wilson's for accuracies, a bootstrap over images for macro F1.
"""

from cache.reader import read_features, read_images
from cache.records import UNAUGMENTED
from cache.writer import write_bytes, write_text
from pipeline.config.evaluate import EvaluateConfig
from pipeline.config.featurize import FeaturizeConfig
from pipeline.predictions import to_npz
from pipeline.tables import summary, variant_order
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Predict and judge every test variant, attack and corrupt, write the figures, return the summary."""
    from pipeline.classifier import load_classifier
    from pipeline.judge import Evidence, judge
    from pipeline.robustness import make_probe

    config = job.section(EvaluateConfig)
    paths = job.inputs("featurize")
    found = {name.removeprefix("test-") for name in paths if name.startswith("test-")}
    wanted = sorted({UNAUGMENTED} | found if found else found, key=variant_order)
    test = {variant: read_features(job.data / "featurize" / f"test-{variant}.h5") for variant in wanted}
    splits = [split for split in ("train", "val") if f"{split}-{UNAUGMENTED}" in paths]
    plain = {split: read_features(paths[f"{split}-{UNAUGMENTED}"]) for split in splits}
    plain |= {"test": test[UNAUGMENTED]} if test else {}
    classifier = load_classifier(job.data / "train_head")
    probe = None
    if test and (config.attacks or config.corruptions):
        images = read_images(job.data / "prepare" / "test.h5")
        probe = make_probe(classifier, images, test[UNAUGMENTED], config.probe_images, job.section(FeaturizeConfig))
    evidence = Evidence(classifier, test, plain, probe)
    with job.progress(evidence.steps(config), "set") as advance:
        judged = judge(evidence, config, advance)
    for old in job.out.glob("predictions-*.npz"):  # of variants that are gone
        old.unlink()
    for predictions in judged.predictions:
        write_bytes(job.out / f"predictions-{predictions.variant}.npz", to_npz(predictions))
    for name, text in judged.texts.items():
        write_text(job.out / name, text)
    job.facts["rows"] = sum(len(predictions) for predictions in judged.predictions)
    return summary(judged.groups)


if __name__ == "__main__":
    run_stage("evaluate", run)
