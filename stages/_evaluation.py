"""What evaluate reads: the classifiers, the sets that they take, and the images that are attacked and corrupted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cache.files import remove_others, write_bytes
from cache.records import UNAUGMENTED, FeatureSet, ImageSet
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.config.shared.limits import GAIN_IMAGES
from pipeline.config.shared.stages import TRAIN_HEAD, TRAIN_MODEL
from pipeline.config.train_head import TrainHeadConfig
from pipeline.evaluation.evaluate import Evaluation, EvaluationInputs, describe_compared, find_leaks
from pipeline.evaluation.review import occlusion_file, review_files
from pipeline.evaluation.robustness import make_robustness_sample, pixels_of
from pipeline.evaluation.side_by_side import SideBySide, side_by_side
from pipeline.evaluation.source_files import SourceFiles
from pipeline.heads.ablation import VariantGain, ablate_schedule
from pipeline.heads.sets import at_most
from pipeline.inference import load
from pipeline.inference.choose import choose_classifier, trained_classifiers
from pipeline.inference.classifier import HeadClassifier, ModelClassifier
from pipeline.inference.tta import predict_over_views
from pipeline.metrics.near_duplicates import NearDuplicate
from stages._cli import Job
from stages._views import NO_VIEWS, choose_views, views_of_flag

SPLITS = ("train", "val", "test")
Features = Mapping[str, Mapping[str, FeatureSet]]


def stages_to_evaluate(job: Job) -> list[str]:
    """The stages whose classifiers are evaluated, first the one that is used."""
    chosen = choose_classifier(job.data, job.params.evaluate.classifier)
    others = [stage for stage in trained_classifiers(job.data) if stage != chosen]
    return [chosen, *(stage for stage in others if stage != TRAIN_HEAD or job.has_made("featurize"))]


def read_features_of(job: Job, stages: list[str]) -> Features:
    """The cached features by split and variant; a full model alone needs none. StorageError if a head lacks them."""
    if stages == [TRAIN_MODEL] and not job.has_made("featurize"):
        return {}
    return {split: job.features(split) for split in SPLITS}


def leaks_of(job: Job, features: Features) -> list[NearDuplicate]:
    """Near duplicates across the split; says of which splits only a part was compared."""
    for line in describe_compared(features):
        job.say(line)
    return find_leaks(features, job.params.evaluate.near_duplicate)


def make_inputs(job: Job, stage: str, features: Features, featurize: FeaturizeConfig) -> EvaluationInputs:
    """The classifier of a stage and what it is evaluated on. featurize: the section that made the features."""
    config = job.params.evaluate
    trained = load.load_classifier(job.data / stage)
    is_model = isinstance(trained, ModelClassifier)
    sets = {split: job.images(split) for split in SPLITS} if is_model else features
    inputs = EvaluationInputs(trained, sets, features)
    views = views_of_flag(job, None)
    probed = bool(config.attacks or config.corruptions)
    if not sets["test"] or not (probed or views != NO_VIEWS):
        return inputs
    images = job.images("test")[UNAUGMENTED]
    pixels = pixels_of(trained, featurize, images, features.get("test", {}).get(UNAUGMENTED))
    if probed:
        inputs = replace(inputs, sample=make_robustness_sample(pixels, images, config.probe_images))
    return _with_views(job, inputs, ModelClassifier(pixels, trained.classes, {}), images, views)


def _with_views(
    job: Job, inputs: EvaluationInputs, classifier: ModelClassifier, images: ImageSet, names: Sequence[str]
) -> EvaluationInputs:
    """Predictions for the unaugmented test images over the views of these names, or those that val supports."""
    views = choose_views(job, classifier, names)
    if not views:
        return inputs
    with job.progress(len(images), "image", "views") as advance:
        return replace(inputs, views=views, viewed=predict_over_views(classifier, images, views, advance))


def gains_of(job: Job, stages: list[str], features: Features, head: TrainHeadConfig) -> list[VariantGain]:
    """What each variant of the schedule gains heads of the chosen shape on val; nothing without a head."""
    if TRAIN_HEAD not in stages:
        return []
    chosen = load.load_classifier(job.data / TRAIN_HEAD)
    if isinstance(chosen, HeadClassifier):
        head = head.model_copy(update={"hidden": chosen.head.widths[1:-1]})
    count = len(features["train"].get(UNAUGMENTED, ()))
    train = at_most(features["train"], GAIN_IMAGES, head.seed)
    gains = ablate_schedule(train, features["val"], head, job.params.evaluate.worth_seeds)
    if gains and count > GAIN_IMAGES:
        job.say(f"what variants gain was measured with {GAIN_IMAGES:,} of the {count:,} training images")
    return gains


def both_side_by_side(evaluations: Mapping[str, Evaluation], confidence: float) -> list[SideBySide]:
    """The head and the full model on the same images; empty unless both were evaluated."""
    if len(evaluations) < 2:
        return []
    return side_by_side(evaluations[TRAIN_HEAD], evaluations[TRAIN_MODEL], confidence)


def review_of(job: Job, features: Features, inputs: EvaluationInputs, sources: SourceFiles) -> dict[str, bytes]:
    """What a person should look at, by file name. inputs: of the classifier that is used."""
    test = inputs.plain.get("test")
    ids = np.empty(0, dtype="S64") if test is None else test.ids
    files = review_files(features, sources, job.params.evaluate.confidence)
    return files | occlusion_file(inputs.sample, sources, ids)


def write_files(job: Job, files: dict[str, bytes]) -> None:
    """Write the files and remove those of variants and classifiers that are no longer there."""
    for name, content in files.items():
        write_bytes(job.out / name, content)
    written = {job.out / name for name in files}
    remove_others(job.out, written, "predictions-*.npz")
    remove_others(job.out / "other", written, "*.*")
