"""The engine `imgaug`: policies run by imgaug itself. The only module that imports it."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cache.errors import ParamsError
from cache.layout import Array
from pipeline.augmentation.draws import SIDES
from pipeline.augmentation.shapes import to_size
from pipeline.config.augment import Step
from pipeline.config.shared.section import unknown_name

# What imgaug 0.4.0, of 2020, raises if it does not fit today's numpy and OpenCV (cv2.error is a RuntimeError).
RUN_ERRORS = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError)
CHILDREN = ("children", "then_list", "else_list", "foreground", "background")  # arguments that are steps
LISTS = ("channels",)  # arguments of which imgaug takes a list as it is
NO_LISTS = ("px", "percent", "size_px", "size_percent", "n")  # of which it takes no list for a choice


def by_imgaug(steps: list[Step], size: int) -> Callable[[Array, np.random.Generator], Array]:
    """A function of (uint8 [h, w, 3], generator) to uint8 [size, size, 3]; all augmenters draw from the generator.

    Raises ParamsError for a step that cannot be built.
    """
    sequence = make_sequence(steps)
    import imgaug.augmenters as iaa
    from imgaug import random as imgaug_random

    holders = list(_all_augmenters(iaa, sequence))
    lock = threading.Lock()  # the augmenters hold the generator of the image

    def augment(image: Array, generator: np.random.Generator) -> Array:
        shared = imgaug_random.RNG(generator)
        with lock:
            for holder in holders:
                holder.random_state = shared
            augmented = sequence.augment_image(np.ascontiguousarray(image))
        return to_size(np.asarray(augmented), size)

    return augment


def make_sequence(steps: list[Step]) -> Any:
    """A policy as imgaug's own Sequential. Raises ParamsError for a step that cannot be built."""
    iaa = import_imgaug()
    return iaa.Sequential([_make_step(iaa, step) for step in steps])


def _all_augmenters(iaa: Any, augmenter: Any) -> Iterator[Any]:
    """The augmenter and all below it.

    imgaug's own walk passes over lists that are augmenters themselves (the randomly ordered pair inside
    MultiplyAndAddToBrightness), which then draw from a global generator: aleju/imgaug#804.
    """
    yield augmenter
    for children in augmenter.get_children_lists():
        own_list = children is augmenter  # a Sequential is its own list of children
        for child in [children] if isinstance(children, iaa.Augmenter) and not own_list else children:
            yield from _all_augmenters(iaa, child)


def _make_step(iaa: Any, step: Step) -> Any:
    """One `{Name: {arguments}}` as an imgaug augmenter."""
    if len(step) != 1:
        raise ParamsError("a step must be one `Name: {arguments}`", found=", ".join(step))
    ((name, arguments),) = step.items()
    if name == "AutoAugment":
        return _auto_augment(iaa, **arguments)
    known = augmenter_names(iaa)
    if name not in known:
        raise unknown_name("augmenter", name, [*known, "AutoAugment"])
    try:
        return getattr(iaa, name)(**{key: _argument(iaa, key, value) for key, value in arguments.items()})
    except RUN_ERRORS as error:
        raise ParamsError(f"arguments do not fit: {error}", where=name) from error


def _argument(iaa: Any, key: str, value: Any) -> Any:
    """A YAML value in imgaug's terms: [low, high] is a range and {choice: [...]} a choice, at every depth.

    imgaug takes a pair for a range, a list for a choice, and four values for the top, right, bottom and left.
    """
    if isinstance(value, dict):
        return _mapping(iaa, key, value)
    if not isinstance(value, list) or key in LISTS:
        return value
    if key in CHILDREN:
        return [_make_step(iaa, step) for step in value]
    if len(value) == 2 and all(isinstance(end, int | float) for end in value):
        return tuple(value)
    return [_argument(iaa, "", inner) for inner in value]


def _mapping(iaa: Any, key: str, value: dict[str, Any]) -> Any:
    """A choice, four sides, or names with values of their own, such as x and y."""
    if set(value) == {"choice"}:
        return _choice(key, value["choice"])
    if set(value) == set(SIDES):
        return tuple(_argument(iaa, "", value[side]) for side in SIDES)
    return {name: _argument(iaa, key, inner) for name, inner in value.items()}


def _choice(key: str, options: Any) -> Any:
    """A list, or imgaug's own type if the argument takes no list. Raises ParamsError for a choice among ranges."""
    if not isinstance(options, list) or not options:
        raise ParamsError("a choice must be a list", where=key, expected="{choice: [...]}", found=repr(options))
    if any(isinstance(option, list | dict) for option in options):
        remedy = "Write one step for each range, and choose among them with OneOf."
        raise ParamsError("a choice is among single values", where=key, found=repr(options), remedy=remedy)
    if key not in NO_LISTS:
        return list(options)
    from imgaug import parameters

    return parameters.Choice(list(options))


def _auto_augment(iaa: Any, policy: str) -> Any:
    """torchvision's AutoAugment (Cubuk et al., CVPR 2019) as an imgaug step, seeded from the image's generator."""
    from torchvision.transforms import v2

    from pipeline.runtime.seeds import torch_seeded

    policies = {item.value: item for item in v2.AutoAugmentPolicy}
    if policy not in policies:
        raise unknown_name("AutoAugment.policy", policy, list(policies))
    transform = v2.AutoAugment(policies[policy])

    def apply(images: Any, random_state: Any, *_: Any) -> Any:
        return [_apply_seeded(image, int(random_state.integers(0, 2**31))) for image in images]

    def _apply_seeded(image: Array, seed: int) -> Array:
        from PIL import Image

        with torch_seeded(seed):
            return np.asarray(transform(Image.fromarray(image)))

    return iaa.Lambda(func_images=apply)


def augmenter_names(iaa: Any) -> list[str]:
    """Every augmenter that a policy may name."""
    classes = (name for name in dir(iaa) if isinstance(getattr(iaa, name), type))
    return [name for name in classes if issubclass(getattr(iaa, name), iaa.Augmenter)]


def import_imgaug() -> Any:
    """imgaug.augmenters, importable under numpy 2: it reads names that numpy has removed."""
    if not hasattr(np, "sctypes"):
        shim: Any = np
        shim.sctypes = {
            "int": [np.int8, np.int16, np.int32, np.int64],
            "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
            "float": [np.float16, np.float32, np.float64],
            "complex": [np.complex64, np.complex128],
            "others": [bool, object, bytes, str, np.void],
        }
        shim.bool = np.bool_
        shim.complex = complex
    import cv2
    import imgaug.augmenters as iaa

    cv2.setNumThreads(1)  # one process per core: OpenCV's own threads would fight over them
    return iaa
