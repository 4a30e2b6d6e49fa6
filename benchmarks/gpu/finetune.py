"""V2-B0 fine-tuned on 50 images per class of CIFAR-10, from the head over its features (LP-FT): accuracy and seconds.

python benchmarks/gpu/finetune.py [--data FOLDER] [--weights V2-B0.safetensors] [--dry-run]
"""

import numpy as np
from common import DEVICE, DRY, folder_option, gauged, option, params, prepared, record

from cache.records import FeatureSet, ImageSet
from pipeline.config.recipe import read_recipe
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.features.featurizer import Featurizer
from pipeline.heads.choose import choose_head
from pipeline.inference.classifier import HeadClassifier, make_model_classifier
from pipeline.training.fit import fit_model
from pipeline.training.start import start_from_head

PER_CLASS, TEST = (8, 40) if DRY else (50, 5000)
CHANGES = {
    "lr": 0.0001,
    "schedule": ["unaugmented x 15"],
    "augmentation": {"crop_padding": 4, "flip": 0.5},
    "precision": "bfloat16",
}


def main() -> None:
    data = folder_option("data")
    train, test = (prepared(split, data, 200) for split in ("train", "test"))
    train = train.take(np.concatenate([np.flatnonzero(train.labels == label)[:PER_CLASS] for label in range(10)]))
    test = test.take(np.arange(min(TEST, len(test))))
    config = featurize_config()
    featurizer = Featurizer(config)
    with gauged() as gauge:
        rows, test_rows = (features_of(images, featurizer) for images in (train, test))
    record("features of CIFAR-10", images=len(train) + len(test), **gauge.figures())
    head_config = params(f"train_head.device={DEVICE}", "train_head.schedule=[unaugmented x 12]").train_head
    with gauged() as gauge:
        choice = choose_head({"unaugmented": rows}, {}, head_config)
    head = HeadClassifier(choice.fit.head, rows.classes, rows.recipe, choice.fit.temperature)
    accuracy = float(head.predict(test_rows).correct.mean())
    record("head on CIFAR-10", per_class=PER_CLASS, test_accuracy=accuracy, **gauge.figures())
    recipe = read_recipe("finetune", CHANGES | ({"schedule": ["unaugmented x 1"]} if DRY else {}))
    settings = params(f"train_model.device={DEVICE}").train_model
    with gauged() as gauge:
        fit = next(
            fit_model({"unaugmented": train}, {}, recipe, settings, start=start_from_head(choice.fit.head, config))
        )
    classifier = make_model_classifier(fit.network, train.classes, fit.describe("finetune"), fit.temperature)
    accuracy = float(classifier.predict(test).correct.mean())
    record(
        "finetune on CIFAR-10", per_class=PER_CLASS, epochs=len(fit.curves), test_accuracy=accuracy, **gauge.figures()
    )


def featurize_config() -> FeaturizeConfig:
    """V2-B0 at 128 px."""
    weights = option("weights")
    values = {"backbone": "timm:tf_efficientnetv2_b0", "weights": weights or "random", "size": 128, "batch": 256}
    if DRY:
        values |= {"backbone": "efficientnet:0.25x0.2/2", "weights": "random", "size": 32, "batch": 16}
    values |= {"device": DEVICE, "preprocessing": "imagenet", "engine": "eager"}
    return params(*(f"featurize.{key}={value}" for key, value in values.items())).featurize


def features_of(images: ImageSet, featurizer: Featurizer) -> FeatureSet:
    keys = np.empty(len(images), "S64")
    rows = [featurizer(images.images[at : at + 1024], keys[at : at + 1024]) for at in range(0, len(images), 1024)]
    identity = (images.labels, images.ids, images.classes, images.variant)
    return FeatureSet(np.concatenate(rows), *identity, featurizer.config.backbone, featurizer.recipe)


if __name__ == "__main__":
    main()
