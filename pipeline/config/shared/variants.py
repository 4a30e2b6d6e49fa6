"""How variants are called: `spatial_2` is the policy `spatial` in its second draw; GAN samples are `gan_1`."""

import re

from cache.records import UNAUGMENTED

VARIANT_PATTERN = re.compile(r"(?P<policy>[a-z][a-z_]*)_(?P<draw>[1-9][0-9]*)")
GAN_VARIANT = "gan_1"
TOGETHER = "all together"  # of tables of gains: all variants at once
GAN_PREFIX = "gan_"  # variants that a GAN made: rows of their own, none of which is a photo


def policy_and_draw(variant: str) -> tuple[str, int]:
    """`spatial_2` is the policy `spatial` in its second draw."""
    match = VARIANT_PATTERN.fullmatch(variant)
    if match is None:
        raise ValueError(f"variant {variant!r} is not of the form <policy>_<draw>, such as spatial_1")
    return match["policy"], int(match["draw"])


def variant_order(variant: str) -> tuple[bool, str, int]:
    """A sort key: unaugmented first, then by policy and draw, so that spatial_10 comes after spatial_2."""
    draw = re.search(r"_(\d+)$", variant)
    return variant != UNAUGMENTED, variant[: draw.start()] if draw else variant, int(draw[1]) if draw else 0
