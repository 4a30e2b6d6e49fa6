"""What every step of the fused engine is: an augmenter of imgaug by its name, its arguments and their defaults."""

from typing import ClassVar

from pipeline.augmentation.canvas import Canvas
from pipeline.config.shared.section import Section


class Step(Section):
    """A step with the name, the arguments and the defaults of imgaug's augmenter; what it cannot do, it refuses.

    Unlike sections of params.yaml, steps have defaults: those of imgaug 0.4.0, so that a policy means the same
    in both engines.
    """

    is_free: ClassVar[bool] = False  # moves no pixel, and does the same at any resolution

    def __call__(self, canvas: Canvas) -> None:
        raise NotImplementedError
