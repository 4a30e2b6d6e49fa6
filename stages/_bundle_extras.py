"""What a bundle carries besides its classifier: a model card, and what was measured on val."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cache.records import UNAUGMENTED
from pipeline.config.params import Params
from pipeline.runtime.provenance import git_revision, package_versions, plain_values
from stages._cli import Job
from stages._measure import measured_for

if TYPE_CHECKING:
    from pipeline.inference.bundle import Bundle

README = "README.md"


def bundle_extras(job: Job, used: Params, bundle: "Bundle", has_onnx: bool) -> dict[str, bytes]:
    """Files by name. used: the parameters that the classifier was trained with."""
    from pipeline.inference.answers import Answerer
    from pipeline.inference.measured import FILE
    from pipeline.inference.model_card import CardFacts, model_card

    measured = measured_for(job, Answerer(bundle, bundle.views), None)
    facts = CardFacts(
        title=used.report.title,
        classes=bundle.classes,
        size=bundle.size,
        backbone=f"Backbone {used.featurize.backbone}, weights {used.featurize.weights}",
        images=_json(job, "prepare/manifest.json").get("images", {}),
        scores=_json(job, "evaluate/metrics.json").get("test", {}).get(UNAUGMENTED, {}),
        errors=measured.errors() if measured is not None else (),
        has_onnx=has_onnx,
        revision=git_revision(),
        versions=dict(package_versions()),
    )
    card = {README: model_card(facts).encode()}
    return card if measured is None else card | {FILE: measured.to_bytes()}


def provenance_of(used: Params) -> dict[str, Any]:
    """Which code and libraries made a bundle, and the parameters that its classifier was trained with."""
    versions = dict(package_versions())
    return {"revision": git_revision(), "versions": versions, "params": plain_values(used.sections)}


def _json(job: Job, name: str) -> Mapping[str, Any]:
    try:
        values = json.loads((job.data / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, Mapping) else {}
