"""What start chooses for the head: the features that it sees, and the schedule of those that are trained."""

from collections.abc import Sequence

from pipeline.config.shared.featurize import ALL, LAST
from pipeline.estimate.wishes import Choice

MOST_ROWS = 20_000  # of which the outputs of all blocks are kept: some 10 KB each


def choose_layers(rows: int) -> Choice:
    """Which outputs of the backbone the head may use. rows: images of all splits and variants."""
    changes = {"featurize.layers": ALL if rows <= MOST_ROWS else LAST}
    if rows > MOST_ROWS:
        return Choice(
            "layers", LAST, f"those of all blocks are large, and {rows:,} images and variants are many", changes
        )
    reason = "the outputs of all blocks, of which the head takes what unseen photos support"
    return Choice("layers", ALL, reason, changes)


def choose_head_by(variants: Sequence[str]) -> Choice:
    """The head is chosen by the train_head stage; the schedule is of these variants."""
    schedule = ["unaugmented x 2", *(f"{name} x 2" for name in variants), "unaugmented x 2"]
    if not variants:
        schedule = ["unaugmented x 12"]
    changes = {"train_head.schedule": schedule, "train_head.hidden": "auto", "train_head.lr": "auto"}
    changes |= {"train_head.weight_decay": "auto"}
    return Choice("head", "auto", "linear or with a hidden layer, whichever cross-validation prefers", changes)
