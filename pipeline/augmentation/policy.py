"""Policies of augmentation, drawn once per image: the only module that imports imgaug.

Every image has its own generator, made from (seed, variant, id), and all augmenters of a policy draw from it in
order. So a result depends on nothing but the image and the recipe: not on order, batch, process or run before.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from cache.errors import ParamsError
from cache.layout import Array, canonical
from pipeline.config.augment import FUSED, AugmentConfig, Step, fuses
from pipeline.config.shared.section import unknown_name
from pipeline.config.shared.variants import policy_and_draw
from pipeline.runtime.seeds import make_generator

CODE_VERSION = 1  # raise it whenever the same recipe gives other pixels
PROBE = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(1, 32, 32, 3)
# What imgaug 0.4.0, of 2020, raises where it does not fit today's numpy and OpenCV (cv2.error is a RuntimeError).
RUN_ERRORS = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError)
FUSED_LIBRARIES: tuple[str, ...] = ("numpy", "opencv-python-headless")
LIBRARIES: tuple[str, ...] = ("imgaug", "numpy", "opencv-python-headless", "scipy", "scikit-image", "pillow")


@dataclass(frozen=True)
class Augmentation:
    """One variant: uint8 images [k, h, w, 3] and their ids S64 [k] to uint8 [k, size, size, 3]. Can be pickled."""

    variant: str
    steps: str  # canonical JSON, so that the recipe is hashable
    size: int
    seed: int

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything but the source pixels that decides the result."""
        return {
            "stage": "augment",
            "code": CODE_VERSION,
            "variant": self.variant,
            "policy": self.steps,
            "size": self.size,
            "seed": self.seed,
            "libraries": _library_versions(self.steps),
        }

    def __call__(self, images: Array, ids: Array) -> Array:
        policy, rows = _compiled(self.steps, self.size), []
        for image, key in zip(images, ids, strict=True):
            try:
                rows.append(policy(image, make_generator(self.seed, self.variant, key)))
            except RUN_ERRORS as error:
                found = f"{type(error).__name__} {error}"
                where = f"params.yaml augment.policies, {self.variant} of image {key.decode()}"
                raise ParamsError("policy cannot run with the installed libraries", where=where, found=found) from error
        return np.stack(rows)


def make_augmentation(config: AugmentConfig, variant: str) -> Augmentation:
    """The augmentation of one variant. Raises ParamsError where a step of its policy cannot be built."""
    policy, _ = policy_and_draw(variant)
    try:
        steps = canonical(_resolved(config, policy)).decode()
        augmentation = Augmentation(variant, steps, config.size, config.seed)
        augmentation(PROBE, np.array([b"probe"]))
    except (ParamsError, ValueError) as error:  # canonical takes no infinite number
        raise ParamsError(str(error), where=f"params.yaml augment.policies.{policy}") from error
    return augmentation


def _library_versions(steps: str) -> dict[str, str]:
    if FUSED in steps:
        names = FUSED_LIBRARIES
    else:
        names = (*LIBRARIES, "torch", "torchvision") if "AutoAugment" in steps else LIBRARIES
    return {name: version(name) for name in names}


def _resolved(config: AugmentConfig, policy: str) -> list[Step]:
    """The steps of a policy, those of the one that it fuses put in its place."""
    steps = config.policies[policy]
    other = fuses(steps)
    return steps if other is None else [{FUSED: {"steps": config.policies[other]}}]


@cache
def _compiled(steps: str, size: int) -> Callable[[Array, np.random.Generator], Array]:
    """A function of (image, generator) to pixels of this size, built once a process."""
    made = json.loads(steps)
    if made and FUSED in made[0]:
        from pipeline.augmentation.fused import fused

        return fused(made[0][FUSED]["steps"], size)
    sequence = make_sequence(made)
    import imgaug.augmenters as iaa
    from imgaug import random as imgaug_random

    from pipeline.augmentation.canvas import to_size

    holders = list(_all_augmenters(iaa, sequence))

    def augment(image: Array, generator: np.random.Generator) -> Array:
        shared = imgaug_random.RNG(generator)
        for holder in holders:
            holder.random_state = shared
        return to_size(np.asarray(sequence.augment_image(np.ascontiguousarray(image))), size)

    return augment


def make_sequence(steps: list[Step]) -> Any:
    """A policy as imgaug's own Sequential. Raises ParamsError for a step that cannot be built."""
    iaa = _imgaug()
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
    """A YAML value as imgaug means it: [low, high] is a range, {choice: [...]} a choice, `children` are steps."""
    if key in ("children", "then_list", "else_list", "foreground", "background"):
        return [_make_step(iaa, step) for step in value]
    if isinstance(value, dict) and set(value) == {"choice"}:
        return list(value["choice"])
    if isinstance(value, list) and len(value) == 2 and all(isinstance(end, int | float) for end in value):
        return tuple(value)
    return value


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
    found = (name for name in dir(iaa) if isinstance(getattr(iaa, name), type))
    return [name for name in found if issubclass(getattr(iaa, name), iaa.Augmenter)]


def _imgaug() -> Any:
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
        shim.bool, shim.complex = np.bool_, complex
    import cv2
    import imgaug.augmenters as iaa

    cv2.setNumThreads(1)  # one process a core: OpenCV's own threads would fight over them
    return iaa
