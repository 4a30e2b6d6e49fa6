"""Policies of augmentation, drawn once per image.

A policy says what to do, in imgaug's terms; an engine says how: `imgaug` itself, or `fused`, which is several times as
fast. Each image has its own generator, made from (seed, variant, id), and all steps of a policy draw from it in order.
So a result depends on nothing but the image and the recipe: not on order, batch, process or earlier runs.
"""

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from cache.errors import ParamsError
from cache.layout import Array, canonical
from pipeline.augmentation.fused import fused, unknown_steps
from pipeline.augmentation.imgaug_engine import RUN_ERRORS, by_imgaug
from pipeline.config.augment import AugmentConfig, Engine, Step
from pipeline.config.shared.stages import AUGMENT
from pipeline.config.shared.variants import policy_and_draw
from pipeline.runtime.seeds import make_generator

CODE_VERSION = 2  # raise it whenever the same recipe gives other pixels
PROBE = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(1, 32, 32, 3)
FUSED_LIBRARIES: tuple[str, ...] = ("numpy", "opencv-python-headless")
LIBRARIES: tuple[str, ...] = ("imgaug", "numpy", "opencv-python-headless", "scipy", "scikit-image", "pillow")

PixelFunction = Callable[[Array, np.random.Generator], Array]


@dataclass(frozen=True)
class Augmentation:
    """One variant: uint8 images [k, h, w, 3] and their ids S64 [k] to uint8 [k, size, size, 3]. Can be pickled."""

    variant: str
    steps: str  # canonical JSON, so that the recipe is hashable
    size: int
    seed: int
    engine: Engine

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything except the source pixels that decides the result."""
        return {
            "stage": AUGMENT,
            "code": CODE_VERSION,
            "variant": self.variant,
            "policy": self.steps,
            "size": self.size,
            "seed": self.seed,
            "engine": self.engine,
            "libraries": _library_versions(self.steps, self.engine),
            "processor": processor_kind(),
        }

    def __call__(self, images: Array, ids: Array) -> Array:
        policy = _compiled(self.steps, self.size, self.engine)
        rows = np.empty((len(images), self.size, self.size, 3), dtype=np.uint8)
        for row, image, key in zip(rows, images, ids, strict=True):
            try:
                row[:] = policy(image, make_generator(self.seed, self.variant, key))
            except RUN_ERRORS as error:
                actual = f"{type(error).__name__} {error}"
                where = f"params.yaml augment.policies, {self.variant} of image {key.decode()}"
                raise ParamsError(
                    "policy cannot run with the installed libraries", where=where, found=actual
                ) from error
        return rows


def make_augmentation(config: AugmentConfig, variant: str) -> Augmentation:
    """The augmentation of one variant. Raises ParamsError if a step of its policy cannot be built or run."""
    policy, _ = policy_and_draw(variant)
    steps = config.policies[policy]
    try:
        engine = _engine(config, steps)
        augmentation = Augmentation(variant, canonical(steps).decode(), config.size, config.seed, engine)
        augmentation(PROBE, np.array([b"probe"]))
    except (ParamsError, ValueError) as error:  # canonical takes no infinite number
        raise ParamsError(str(error), where=f"params.yaml augment.policies.{policy}") from error
    return augmentation


def unfused(config: AugmentConfig) -> dict[str, list[str]]:
    """Policies of the variants that engine `auto` leaves to imgaug, each with the steps that `fused` does not know."""
    if config.engine != "auto":
        return {}
    policies = dict.fromkeys(policy_and_draw(variant)[0] for variant in config.variants)
    unknown = {policy: unknown_steps(config.policies[policy]) for policy in policies}
    return {policy: steps for policy, steps in unknown.items() if steps}


def _engine(config: AugmentConfig, steps: list[Step]) -> Engine:
    """Which engine runs these steps. Raises ParamsError if it is to be `fused` and one of them is not known to it."""
    if config.engine == "imgaug":
        return "imgaug"
    unknown = unknown_steps(steps)
    if unknown and config.engine == "fused":
        remedy = "Set augment.engine to auto or imgaug."
        raise ParamsError("the fused engine does not know every step", found=", ".join(unknown), remedy=remedy)
    return "imgaug" if unknown else "fused"


def _library_versions(steps: str, engine: Engine) -> dict[str, str]:
    if engine == "fused":
        names = FUSED_LIBRARIES
    else:
        names = (*LIBRARIES, "torch", "torchvision") if "AutoAugment" in steps else LIBRARIES
    return {name: version(name) for name in names}


@cache
def processor_kind() -> str:
    """The processor as far as it decides bytes: its architecture and vector instructions.

    OpenCV and numpy have code of their own for each; a sum next to one half is then rounded the other way.
    """
    extensions: Any = np.show_config(mode="dicts")
    return " ".join([platform.machine(), *extensions.get("SIMD Extensions", {}).get("found", [])])


@cache
def _compiled(steps: str, size: int, engine: Engine) -> PixelFunction:
    """A function of (image, generator) to pixels of this size, built once per process."""
    if engine == "fused":
        return fused(json.loads(steps), size)
    return by_imgaug(json.loads(steps), size)
