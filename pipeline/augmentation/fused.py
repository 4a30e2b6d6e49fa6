"""The fused engine: steps of imgaug in a few calls of OpenCV, with the same distribution of results.

What a chain of geometric steps does to places is one matrix, so an image is warped once, in the size that is needed;
what a chain of steps does to values is one table. Steps have imgaug's names, arguments and defaults. A step or an
argument that is not known here makes the whole policy unknown: then imgaug runs it.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from pydantic import Field, ValidationError

from cache.layout import Array
from pipeline.augmentation import affine, filters, geometry, noise, sizes, values
from pipeline.augmentation.canvas import Canvas
from pipeline.augmentation.draws import Count, Draw, Probability
from pipeline.augmentation.step import Step

Steps = Sequence[dict[str, dict[str, Any]]]


class Identity(Step):
    """Nothing."""

    is_free = True

    def __call__(self, canvas: Canvas) -> None:
        pass


class Container(Step):
    """A step that runs others."""

    @cached_property
    def is_free(self) -> bool:  # type: ignore[override]
        """Whether all of its steps are."""
        return all(step.is_free for step in self.steps)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """All steps that may run."""
        raise NotImplementedError


class Sequential(Container):
    """All, in order or in any order."""

    children: list[dict[str, dict[str, Any]]]
    random_order: bool = False

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        return make_steps(self.children)

    def __call__(self, canvas: Canvas) -> None:
        chosen = list(self.steps)
        if self.random_order:
            chosen = [chosen[index] for index in canvas.random.permutation(len(chosen))]
        run(chosen, canvas)


class SomeOf(Sequential):
    """Some of several; a range whose end is null ends at all of them."""

    n: Count | tuple[int, None] | None = None

    def __call__(self, canvas: Canvas) -> None:
        total = len(self.steps)
        count = self.n
        if isinstance(count, tuple):
            count = Draw(min(count[0], total), max(count[0], total), (), True)
        number = total if count is None else min(int(count(canvas.random)), total)
        if number == 1:
            run([self.steps[int(canvas.random.random() * total)]], canvas)
            return
        chosen = canvas.random.permutation(total)[:number]
        order = chosen if self.random_order else np.sort(chosen)
        run([self.steps[index] for index in order], canvas)


class OneOf(Container):
    """One of several."""

    children: list[dict[str, dict[str, Any]]] = Field(min_length=1)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        return make_steps(self.children)

    def __call__(self, canvas: Canvas) -> None:
        run([self.steps[int(canvas.random.random() * len(self.steps))]], canvas)


class Sometimes(Container):
    """Some steps with a probability, else others."""

    p: Probability = 0.5
    then_list: list[dict[str, dict[str, Any]]] = Field(default=[])
    else_list: list[dict[str, dict[str, Any]]] = Field(default=[])

    @cached_property
    def branches(self) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        """Steps that run, and steps that run if those do not."""
        return make_steps(self.then_list), make_steps(self.else_list)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        return self.branches[0] + self.branches[1]

    def __call__(self, canvas: Canvas) -> None:
        run(self.branches[0 if canvas.chance(self.p) else 1], canvas)


STEPS: dict[str, type[Step]] = {
    kind.__name__: kind
    for kind in (
        *(affine.Affine, affine.Rotate, affine.ScaleX, affine.ScaleY, affine.TranslateX, affine.TranslateY),
        *(affine.ShearX, affine.ShearY, geometry.Fliplr, geometry.Flipud, geometry.Rot90),
        *(geometry.PerspectiveTransform, sizes.Resize, sizes.CropAndPad, sizes.Crop, sizes.Pad),
        *(noise.Cutout, noise.Dropout, noise.CoarseDropout, noise.AdditiveGaussianNoise),
        *(values.Add, values.Multiply, values.MultiplyAndAddToBrightness, values.AddToHueAndSaturation),
        *(values.LinearContrast, values.GammaContrast, values.Grayscale, values.Solarize, values.Posterize),
        *(filters.GaussianBlur, filters.MotionBlur, filters.Sharpen, filters.JpegCompression),
        *(Identity, Sequential, SomeOf, OneOf, Sometimes),
    )
}
NESTED = ("children", "then_list", "else_list")


def run(steps: Sequence[Step], canvas: Canvas) -> None:
    """Steps in order; each may look at whether those after it need more than the stored size."""
    rest_is_free = canvas.rest_is_free
    frees = [rest_is_free]
    for step in reversed(steps[1:]):
        frees.append(frees[-1] and step.is_free)
    for step in steps:
        canvas.rest_is_free = frees.pop()
        step(canvas)
    canvas.rest_is_free = rest_is_free


def make_steps(steps: Steps) -> tuple[Step, ...]:
    """Steps from params.yaml that are all known (`unknown_steps`)."""
    return tuple(STEPS[name].model_validate(arguments) for step in steps for name, arguments in step.items())


def unknown_steps(steps: Steps) -> list[str]:
    """What the engine does not know, as `Name` or `Name (argument: value)`; empty if it can run the policy."""
    unknown: list[str] = []
    for step in steps:
        if len(step) != 1:  # as imgaug's engine refuses it
            unknown.append(", ".join(step))
            continue
        ((name, arguments),) = step.items()
        nested = [child for key in NESTED for child in _children(arguments.get(key))]
        if inside := unknown_steps(nested):
            unknown += inside
        elif reason := _unknown(name, arguments):
            unknown.append(reason)
    return list(dict.fromkeys(unknown))


def _children(value: object) -> list[dict[str, dict[str, Any]]]:
    children = value if isinstance(value, list) else []
    return [child for child in children if isinstance(child, dict)]


def _unknown(name: str, arguments: dict[str, Any]) -> str:
    """What is not known of a step whose children are; empty if nothing."""
    if name not in STEPS:
        return name
    try:
        STEPS[name].model_validate(arguments)
    except ValidationError as error:
        first = error.errors()[0]
        key = first["loc"][0] if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ")
        return f"{name} ({key}: {arguments[key]!r})" if key in arguments else f"{name} ({message})"
    return ""


def fused(steps: Steps, size: int) -> Callable[[Array, np.random.Generator], Array]:
    """A function of (uint8 [h, w, 3], generator) to uint8 [size, size, 3], for steps that are all known."""
    cv2.setNumThreads(1)
    composed = make_steps(steps)

    def augment(image: Array, generator: np.random.Generator) -> Array:
        canvas = Canvas(image, size, generator)
        canvas.rest_is_free = True
        run(composed, canvas)
        return canvas.stored()

    return augment
