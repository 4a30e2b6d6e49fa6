"""A recipe on CIFAR-10 from the prepared images: seconds, images per second, and accuracy on the test images.

    python benchmarks/gpu/cifar.py --recipe 002-prop-fast [--data FOLDER] [--epochs N] [--engine compile] [--fast]

--fast: the recipe with 002-prop-fast's batch, rate and precision, so that more rows of the reports fit.
"""

import sys
import time
from typing import Any

from common import DEVICE, DRY, folder_option, gauged, option, params, prepared, record

from cache.records import ImageSet
from pipeline.config.recipe import Recipe, read_recipe
from pipeline.inference.classifier import ModelClassifier, make_model_classifier
from pipeline.inference.tta import predict_over_views
from pipeline.runtime.progress import Watch
from pipeline.training.fit import fit_model

SMALL = {"network": {"name": "resnetv2", "widths": [8, 16], "blocks": 1}, "batch": 32}


def main() -> None:
    name = option("recipe", "002-prop-fast")
    changes: dict[str, Any] = {}
    if "--fast" in sys.argv:
        fast = read_recipe("002-prop-fast", {})
        changes = {key: getattr(fast, key) for key in ("batch", "precision")}
        changes |= {"lr": fast.lr} if read_recipe(name, {}).optimizer == "sgd" else {}
    if DRY:
        changes |= SMALL
    epochs = 1 if DRY else int(option("epochs", "0"))
    if epochs:
        changes["schedule"] = [f"unaugmented x {epochs}"]
    recipe = read_recipe(name, changes)
    engine = option("engine", "eager")
    data = folder_option("data")
    train, test = (prepared(split, data, 256) for split in ("train", "test"))
    with gauged() as gauge:
        classifier, curves = trained(train, recipe, engine)
    epochs = len(curves)
    rate = epochs * len(train) / gauge.seconds
    last = curves[-1]["seconds"] - curves[0]["seconds"]
    steady = (epochs - 1) * len(train) / last if epochs > 1 else None
    accuracy = accuracy_of(classifier, test, ())
    record(
        "cifar-10",
        recipe=name,
        epochs=epochs,
        engine=engine,
        batch=recipe.batch,
        precision=recipe.precision,
        test_accuracy=accuracy,
        test_accuracy_with_mirror_images=accuracy_of(classifier, test, ("flip",)),
        images_per_second=rate,
        steady_images_per_second=steady,
        train_loss=curves[-1]["train_loss"],
        reported=recipe.reported,
        **gauge.figures(),
    )


def trained(train: ImageSet, recipe: Recipe, engine: str) -> tuple[ModelClassifier, list[dict[str, Any]]]:
    """The classifier, and a row per epoch with the seconds since the start."""
    curves: list[dict[str, Any]] = []
    started = time.perf_counter()
    watch = Watch(log=lambda row: curves.append({**row, "seconds": time.perf_counter() - started}))
    config = params(
        f"train_model.device={DEVICE}", f"train_model.engine={engine}", "train_model.checkpoint_seconds=100000"
    ).train_model
    fit = next(fit_model({"unaugmented": train}, {}, recipe, config, watch))
    description = fit.describe("benchmark")
    return make_model_classifier(fit.network, train.classes, description, fit.temperature), curves


def accuracy_of(classifier: ModelClassifier, test: ImageSet, views: tuple[str, ...]) -> float:
    predictions = predict_over_views(classifier, test, views)
    return float(predictions.correct.mean())


if __name__ == "__main__":
    main()
