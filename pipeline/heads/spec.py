"""What a head has of its own, and the values that hold for any backbone if none are named."""

from dataclasses import dataclass
from itertools import pairwise

from cache.records import UNAUGMENTED
from pipeline.config.train_head import TrainHeadConfig

HIDDEN = (512,)
WEIGHT_DECAY = 0.01
LR_PER_INPUT = 2.0  # lr = this / inputs: a step of Adam moves a logit by about lr * inputs, whatever the backbone
MOST_LR = 0.01  # of narrow features


@dataclass(frozen=True)
class HeadSpec:
    """What a head has of its own.

    mixup: alpha of Beta(alpha, alpha) (Zhang et al., ICLR 2018), on features; 0: none. fold: the rows that it never
    trains on and is evaluated on; None: evaluated on val. variants: those that it trains on; in a phase of another one
    it trains on unaugmented rows, so all heads take equal steps.
    """

    hidden: tuple[int, ...]
    lr: float
    weight_decay: float
    dropout: float
    label_smoothing: float
    mixup: float = 0.0
    seed: int = 0
    fold: int | None = None
    variants: frozenset[str] | None = None

    def trains_on(self, variant: str) -> str:
        """The variant whose rows this head sees in an epoch of `variant`."""
        return variant if self.variants is None or variant in self.variants else UNAUGMENTED


def weights_of(spec: HeadSpec, width: int, classes: int) -> int:
    """How many weights a head has over features [n, width]; a step takes about six operations for each and row."""
    widths = [width, *spec.hidden, classes]
    return sum(inputs * outputs for inputs, outputs in pairwise(widths))


def spec_of(config: TrainHeadConfig, width: int) -> HeadSpec:
    """The head that a configuration names, for features [n, width]; what is `auto` is set by rule.

    The learning rate is in inverse proportion to the width (Yang et al., 2022, for Adam), so that the same rule holds
    for narrow and wide backbones.
    """
    hidden = HIDDEN if config.hidden == "auto" else tuple(config.hidden)
    lr = min(MOST_LR, LR_PER_INPUT / width) if config.lr == "auto" else config.lr
    weight_decay = WEIGHT_DECAY if config.weight_decay == "auto" else config.weight_decay
    return HeadSpec(hidden, lr, weight_decay, config.dropout, config.label_smoothing, seed=config.seed)
