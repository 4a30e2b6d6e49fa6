"""Tolerances that follow from a type and a count, so that they hold on any processor."""

FLOAT32 = 2.0**-23  # one unit in the last place, relative
FLOAT16 = 2.0**-10
BFLOAT16 = 2.0**-7
FLOAT64 = 2.0**-52


def by_adam(lr: float, batch: int, weights: int, steps: int) -> float:
    """How far apart weights may end that Adam trains with sums in another order.

    The sum over a batch is off by about sqrt(batch) units in the last place of its terms. A step is lr * g / |g|, so
    what counts is that error relative to g itself, and the smallest of `weights` * `steps` gradients is about that
    fraction of a typical one. Weights that have moved apart by a step stay apart, so the errors of two steps can add.
    """
    return 2 * lr * batch**0.5 * FLOAT32 * weights * steps


def of_sums(count: int, size: float = 1.0) -> float:
    """How far two sums of `count` float32 terms of up to `size` may differ: half a unit for each addition, in both."""
    return count * FLOAT32 * size
