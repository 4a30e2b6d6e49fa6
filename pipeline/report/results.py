"""What the stages found, as the page reads it. Whatever a run does not have is empty."""

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
from pipeline.config.featurize import FeaturizeConfig
from pipeline.config.report import ReportConfig
from pipeline.runtime.provenance import Provenance

TEXTS = (
    "prepare/manifest.json",
    "gan/gan.json",
    "train_head/metrics.json",
    "train_head/curves.csv",
    "train_model/metrics.json",
    "train_model/curves.csv",
    "train_model/classifier.json",
    "evaluate/metrics.json",
    "evaluate/calibration.csv",
    "evaluate/confusion.csv",
    "evaluate/near_duplicates.csv",
    "evaluate/per_class.csv",
    "evaluate/variants.csv",
    "evaluate/confused.csv",
    "evaluate/mistakes.csv",
    "runs/*.json",
)
REMEDY = "Delete it and run the stage that makes it again."

Row = Mapping[str, str]


@dataclass(frozen=True)
class RunResults:
    """The outputs of all stages.

    images, features: by <split> or <split>-<variant>. texts: the files that `TEXTS` names, as far as they are there,
    by <stage>/<file>. trainer: the stage that made the classifier that is judged. Properties raise DamagedFile where a
    text is not what it should be.
    """

    report: ReportConfig
    evaluate: EvaluateConfig
    featurize: FeaturizeConfig
    images: Mapping[str, ImageSet]
    features: Mapping[str, FeatureSet]
    texts: Mapping[str, str]
    provenance: Provenance
    trainer: str = "train_head"

    def group(self, name: str) -> Mapping[str, Mapping[str, float]]:
        """Figures of a group that evaluate judged: `test` by variant, `attacked` by attack, and so on."""
        return self._json("evaluate/metrics.json").get(name, {})  # type: ignore[no-any-return]

    @cached_property
    def calibration(self) -> Mapping[str, float]:
        """Temperature, and calibration error with and without it."""
        return self._json("evaluate/metrics.json").get("calibration", {})  # type: ignore[no-any-return]

    @property
    def size_correlation(self) -> float | None:
        """Of F1 with the classes' training images; None where it says nothing."""
        return self._json("evaluate/metrics.json").get("imbalance", {}).get("f1_size_correlation")  # type: ignore[no-any-return]

    @cached_property
    def best_epoch(self) -> int:
        """The epoch whose weights were kept; 0 where unknown."""
        found = self._json(f"{self.trainer}/metrics.json").get("best_epoch")
        return found if isinstance(found, int) and 0 < found <= len(self.curves) else 0

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """What prepare read, refused and removed."""
        return self._json("prepare/manifest.json")

    @cached_property
    def runs(self) -> Sequence[Mapping[str, Any]]:
        """What each stage said of its last run."""
        return [self._json(name) for name in self.texts if name.startswith("runs/")]

    @cached_property
    def curves(self) -> Sequence[Row]:
        """One row an epoch."""
        return self.table(f"{self.trainer}/curves.csv")

    @property
    def gan(self) -> Mapping[str, Any]:
        """What kind of GAN made samples, and how good they are; empty without."""
        made = self._json("gan/gan.json")
        return {**made, **self._json("evaluate/metrics.json").get("gan", {})} if made else {}

    @cached_property
    def model(self) -> Mapping[str, Any]:
        """Name, network, training and parameters of the full model; empty where the classifier is a head."""
        metrics = self._json("train_model/metrics.json")
        if not metrics or self.trainer != "train_model":
            return {}
        recipe = self._json("train_model/classifier.json").get("recipe", {})
        return {"parameters": metrics.get("parameters", 0), **recipe}

    def table(self, name: str) -> Sequence[Row]:
        """The rows of a CSV file by their column names; cells that a line lacks are empty."""
        return list(csv.DictReader(io.StringIO(self.texts.get(name, "")), restval=""))

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads(self.texts.get(name, "{}"))
        except ValueError as error:
            raise DamagedFile("not JSON", where=name, remedy=REMEDY) from error
        if not isinstance(found, dict):
            raise DamagedFile("not a JSON object", where=name, remedy=REMEDY)
        return found
