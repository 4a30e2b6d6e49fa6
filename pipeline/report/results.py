"""The outputs of all stages, as the page reads them. Whatever a run does not have is empty."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cache.errors import DamagedFile
from cache.records import FeatureSet, ImageSet
from pipeline.config.evaluate import EvaluateConfig
from pipeline.config.report import ReportConfig
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.config.shared.stages import EVALUATE, GAN, PREPARE, TRAIN_HEAD, TRAIN_MODEL
from pipeline.runtime.provenance import Provenance

TRAINERS = {TRAIN_HEAD: "head", TRAIN_MODEL: "full model"}
TEXTS = (
    f"{PREPARE}/manifest.json",
    f"{PREPARE}/files.csv",
    f"{GAN}/gan.json",
    *(f"{stage}/{name}" for stage in TRAINERS for name in ("metrics.json", "curves.csv", "classifier.json")),
    f"{EVALUATE}/metrics.json",
    f"{EVALUATE}/classifiers.csv",
    f"{EVALUATE}/calibration.csv",
    f"{EVALUATE}/confusion.csv",
    f"{EVALUATE}/near_duplicates.csv",
    f"{EVALUATE}/per_class.csv",
    f"{EVALUATE}/variants.csv",
    f"{EVALUATE}/confused.csv",
    f"{EVALUATE}/mistakes.csv",
    f"{EVALUATE}/predictions.csv",
    f"{EVALUATE}/suspects.csv",
    f"{EVALUATE}/unlisted.json",
    f"{EVALUATE}/doubtful.csv",
    f"{EVALUATE}/learning_curve.csv",
    f"{EVALUATE}/learning_classes.csv",
    f"{EVALUATE}/occlusion.json",
    "runs/*.json",
)
UNEVEN = 2  # times the smallest class's training images, from which the largest one's are of interest
REMEDY = "Delete it and run the stage that writes it again."

Row = Mapping[str, str]


@dataclass(frozen=True)
class RunResults:
    """The outputs of all stages.

    images, features: by <split> or <split>-<variant>. texts: the files that `TEXTS` names, as far as they exist, by
    <stage>/<file>. Properties raise DamagedFile if a text cannot be read.
    """

    report: ReportConfig
    evaluate: EvaluateConfig
    featurize: FeaturizeConfig
    images: Mapping[str, ImageSet]
    features: Mapping[str, FeatureSet]
    texts: Mapping[str, str]
    provenance: Provenance

    def group(self, name: str) -> Mapping[str, Mapping[str, float]]:
        """Scores of a group that evaluate wrote: `test` by variant, `attacked` by attack, and so on."""
        return self.json(f"{EVALUATE}/metrics.json").get(name, {})  # type: ignore[no-any-return]

    @cached_property
    def calibration(self) -> Mapping[str, float]:
        """Temperature, and calibration error with and without it."""
        return self.json(f"{EVALUATE}/metrics.json").get("calibration", {})  # type: ignore[no-any-return]

    @property
    def size_correlation(self) -> float | None:
        """Of F1 with the classes' training images; None if it is undefined, or if classes are of nearly one size."""
        sizes = [int(row["train"]) for row in self.table(f"{EVALUATE}/per_class.csv") if row["train"]]
        if not sizes or max(sizes) < UNEVEN * min(sizes):
            return None
        return self.json(f"{EVALUATE}/metrics.json").get("imbalance", {}).get("f1_size_correlation")  # type: ignore[no-any-return]

    @cached_property
    def trained(self) -> list[str]:
        """The stages that trained a classifier."""
        return [stage for stage in TRAINERS if self.curves(stage)]

    @cached_property
    def used(self) -> str:
        """The stage whose classifier is used by predict and export: as evaluate says, else the only one there is."""
        by_evaluate = [stage for stage, figures in self.group("classifiers").items() if figures.get("used")]
        return next(iter([*by_evaluate, *self.trained]), TRAIN_HEAD)

    def curves(self, stage: str) -> Sequence[Row]:
        """One row per epoch of a stage that trains a classifier."""
        return self.table(f"{stage}/curves.csv")

    def best_epoch(self, stage: str) -> int:
        """The epoch whose weights were kept; 0 if unknown."""
        epoch = self.json(f"{stage}/metrics.json").get("best_epoch")
        return epoch if isinstance(epoch, int) and 0 < epoch <= len(self.curves(stage)) else 0

    @cached_property
    def files(self) -> Mapping[str, str]:
        """The file of each image by its id."""
        return {row["id"]: row["path"] for row in self.table(f"{PREPARE}/files.csv")}

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """What prepare read, refused and removed."""
        return self.json(f"{PREPARE}/manifest.json")

    @cached_property
    def runs(self) -> Mapping[str, Mapping[str, Any]]:
        """What each stage recorded of its last run."""
        records = [self.json(name) for name in self.texts if name.startswith("runs/")]
        return {str(record.get("stage")): record for record in records}

    @property
    def gan(self) -> Mapping[str, Any]:
        """What kind of GAN made samples, and how good they are; empty without."""
        samples = self.json(f"{GAN}/gan.json")
        return {**samples, **self.json(f"{EVALUATE}/metrics.json").get(GAN, {})} if samples else {}

    @cached_property
    def model(self) -> Mapping[str, Any]:
        """Name, network, training and parameters of the full model; empty unless it is the classifier that is used."""
        metrics = self.json(f"{TRAIN_MODEL}/metrics.json")
        if not metrics or self.used != TRAIN_MODEL:
            return {}
        recipe = self.json(f"{TRAIN_MODEL}/classifier.json").get("recipe", {})
        return {"parameters": metrics.get("parameters", 0), **recipe}

    def table(self, name: str) -> Sequence[Row]:
        """The rows of a CSV file by their column names; cells that a line lacks are empty."""
        return list(csv.DictReader(io.StringIO(self.texts.get(name, ""), newline=""), restval=""))

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file's object; empty if there is no such file. Raises DamagedFile."""
        try:
            value = json.loads(self.texts.get(name, "{}"))
        except ValueError as error:
            raise DamagedFile("not JSON", where=name, remedy=REMEDY) from error
        if not isinstance(value, dict):
            raise DamagedFile("not a JSON object", where=name, remedy=REMEDY)
        return value
