"""README.md of a bundle: what the classifier is, what it was trained on, how good it is, how to use it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.metrics.thresholds import ThresholdError

LISTED = 50  # classes
ONNX_EXAMPLE = """\
import json
import numpy as np, onnxruntime
from PIL import Image, ImageOps

classes = json.load(open("classifier.json"))["classes"]
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
pixels = np.asarray(ImageOps.fit(photo, ({size}, {size}), Image.Resampling.LANCZOS))  # uint8 [{size}, {size}, 3]
probabilities = session.run(None, {{"images": pixels[None]}})[0][0]
print(classes[probabilities.argmax()], probabilities.max())
"""


@dataclass(frozen=True)
class CardFacts:
    """images: by split. scores: of metrics.json on unaugmented test images, empty if unknown. errors: by threshold."""

    title: str
    classes: Sequence[str]
    size: int
    backbone: str
    images: Mapping[str, int]
    scores: Mapping[str, float]
    errors: Sequence[ThresholdError]
    has_onnx: bool
    revision: str | None
    versions: Mapping[str, str]


def model_card(facts: CardFacts) -> str:
    """Markdown, in the form that model hubs show."""
    named = ", ".join(facts.classes[:LISTED])
    more = f" and {len(facts.classes) - LISTED:,} more" if len(facts.classes) > LISTED else ""
    lines = ["---", "library_name: augcache", "pipeline_tag: image-classification", "---", "", f"# {facts.title}", ""]
    lines += [f"An image classifier of {len(facts.classes):,} classes: {named}{more}.", ""]
    lines += [f"Images are brought to {facts.size} px. {facts.backbone}.", "", "## Data", ""]
    lines += [*_rows(("split", "images"), facts.images.items()), "", "## How good it is", ""]
    lines += [*_scores(facts), "", *_errors(facts.errors), "## How to use it", ""]
    lines += [*_usage(facts.has_onnx, facts.size), "", "## Limits", "", *_limits(), "", "## Made by", ""]
    versions = {"git revision": facts.revision or "unknown", **facts.versions}
    return "\n".join([*lines, *_rows(("what", "version"), versions.items())]) + "\n"


def _rows(header: Sequence[str], rows: Any) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return lines + [f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |" for row in rows]


def _scores(facts: CardFacts) -> list[str]:
    if "top1" not in facts.scores:
        return ["It was not measured on a test split."]
    own = facts.scores
    interval = f"[{100 * own['top1_low']:.1f}, {100 * own['top1_high']:.1f}]"
    return [
        f"Top-1 {100 * own['top1']:.1f} % {interval} on {int(own['n']):,} test images that chose nothing, macro F1 "
        f"{100 * own['macro_f1']:.1f} %, expected calibration error {100 * own['ece']:.1f} %."
    ]


def _errors(errors: Sequence[ThresholdError]) -> list[str]:
    if not errors:
        return []
    rows = [(f"{own.threshold:g}", f"{100 * own.above / own.images:.0f} %", _error_of(own)) for own in errors]
    return [*_rows(("confidence of at least", "share of val", "of it wrong"), rows), ""]


def _error_of(own: ThresholdError) -> str:
    interval = f"[{100 * own.low:.1f}, {100 * own.high:.1f}]"
    return f"{100 * own.wrong:.1f} % {interval}" if own.above else "unknown"


def _usage(has_onnx: bool, size: int) -> list[str]:
    lines = ["```python", "from pipeline.inference.bundle import load_bundle", ""]
    lines += [
        'bundle = load_bundle("this folder")',
        'probabilities = bundle.predict(["photo.jpg"])  # [1, classes]',
        "```",
    ]
    lines += ["", "`python -m stages.predict --images FOLDER --bundle THIS_FOLDER` does the same for whole folders."]
    if has_onnx:
        lines += [
            "",
            "With onnxruntime alone, without augcache:",
            "",
            "```python",
            *ONNX_EXAMPLE.format(size=size).splitlines(),
        ]
        lines += ["```"]
    return lines


def _limits() -> list[str]:
    return [
        "It knows no other classes than these, and gives one of them to any image; column `unknown` of predictions",
        "says how far an image is from all of them. Figures hold for images like those that it was trained on.",
    ]
