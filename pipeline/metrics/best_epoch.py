"""The rule by which the best epoch of a training is chosen on val, and the best of several trainings."""

import math


def val_rank(accuracy: float, loss: float) -> tuple[float, float]:
    """Sorts results on val, the best last: by accuracy, then by loss. Those whose loss is not finite come first."""
    return (accuracy, -loss) if math.isfinite(loss) else (-math.inf, -math.inf)
