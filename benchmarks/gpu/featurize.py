"""Images per second of a frozen backbone at 224 px: each engine and precision, against timm's own way and the card.

    python benchmarks/gpu/featurize.py [--weights V2-B0.safetensors] [--dry-run]

Ours begins with uint8 images in the host's memory and ends with features there. The peer is the loop of timm's
inference benchmark: channels_last, autocast, no gradients, batch 256, one synthetic batch that is there already.
"""

import numpy as np
import torch
from common import DEVICE, DRY, gauged, option, params, rate_of, record
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.features.featurizer import Featurizer

SIZE = 32 if DRY else 224
BATCH = 16 if DRY else 256
IMAGES = 16 if DRY else 4096
B0, V2 = ("efficientnet:0.25x0.2/2", "timm:test_resnet") if DRY else ("efficientnet-b0", "timm:tf_efficientnetv2_b0")
TIMM = {B0: "test_efficientnet" if DRY else "efficientnet_b0", V2: V2.removeprefix("timm:")}
WAYS = (("eager", "bfloat16"), ("compile", "bfloat16"), ("eager", "float32"), ("compile", "float32"))


def main() -> None:
    peak = products_per_second()
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE, 3), np.uint8)
    for backbone in (V2, B0):
        flops = flops_of(TIMM[backbone])
        peers = {precision: peer_rate(TIMM[backbone], precision) for precision in ("bfloat16", "float32")}
        for precision, rate in peers.items():
            record("timm's loop", backbone=backbone, precision=precision, images_per_second=rate)
        for engine, precision in WAYS[:1] if DRY else WAYS:
            weights = option("weights") if backbone == V2 and not DRY else ""
            values = {"backbone": backbone, "weights": weights or "random", "preprocessing": "imagenet", "size": SIZE}
            values |= {"engine": engine, "precision": precision, "batch": BATCH, "device": DEVICE}
            config = params(*(f"featurize.{key}={value}" for key, value in values.items())).featurize
            featurizer = Featurizer(config)
            keys = np.empty(len(images), "S64")
            with gauged() as start:
                featurizer(images[:BATCH], keys[:BATCH])
            with gauged() as gauge:
                for at in range(0, len(images), 1024):
                    featurizer(images[at : at + 1024], keys[at : at + 1024])
            rate = len(images) / gauge.seconds
            ratios = {"to_timm": rate / peers[precision], "of_peak": rate * flops / peak}
            record(
                "featurize",
                backbone=backbone,
                engine=engine,
                precision=precision,
                images_per_second=rate,
                start_seconds=start.seconds,
                **ratios,
                **gauge.figures(),
            )


def products_per_second() -> float:
    """bfloat16 matrix products, floating-point operations per second."""
    side = 256 if DRY else 8192
    left, right = torch.randn(2, side, side, device=DEVICE, dtype=torch.bfloat16)
    return 2 * side**3 * rate_of(lambda: left @ right, 10)


def peer_rate(name: str, precision: str) -> float:
    """timm's network in timm's loop."""
    import timm

    network: nn.Module = timm.create_model(name, num_classes=0).to(DEVICE).to(memory_format=torch.channels_last).eval()
    batch = torch.randn(BATCH, 3, SIZE, SIZE, device=DEVICE).to(memory_format=torch.channels_last)

    def step() -> None:
        with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bfloat16"):
            network(batch)

    return BATCH * rate_of(step, 2 if DRY else 20)


def flops_of(name: str) -> float:
    """Floating-point operations of one image."""
    import timm

    network = timm.create_model(name, num_classes=0).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, SIZE, SIZE))
    return float(counter.get_total_flops())


if __name__ == "__main__":
    main()
