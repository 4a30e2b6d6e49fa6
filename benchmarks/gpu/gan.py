"""Report 001's GANs, one per class, all classes at once; and the convolutional one: iterations per second.

python benchmarks/gpu/gan.py [--dry-run]
"""

import itertools

from common import DEVICE, DRY, coloured_images, gauged, params, record

from pipeline.gan.fit import train_gan

SIZE = 8 if DRY else 32
PER_CLASS, WGAN_ITERATIONS, CONV_ITERATIONS = (4, 2, 2) if DRY else (50, 80, 300)


def main() -> None:
    for kind, classes in itertools.product(("wgan", "conv"), (2,) if DRY else (10, 200)):
        images = coloured_images(classes * PER_CLASS, SIZE, classes)
        values = {"kind": kind, "size": SIZE, "samples": PER_CLASS, "device": DEVICE, "wgan.classes_at_once": classes}
        values |= {"wgan.iterations": WGAN_ITERATIONS, "conv.iterations": CONV_ITERATIONS, "failed": "drop"}
        values |= {"wgan.hidden": [8, 8], "wgan.critic_hidden": [8], "conv.width": 4} if DRY else {}
        config = params(*(f"gan.{key}={value}" for key, value in values.items())).gan
        with gauged() as gauge:
            runs = train_gan(images, config)
        iterations = WGAN_ITERATIONS if kind == "wgan" else CONV_ITERATIONS
        record(
            "gan",
            kind=kind,
            classes=classes,
            size=SIZE,
            iterations=iterations,
            iterations_per_second=iterations / gauge.seconds,
            failed=sum(bool(run.failure) for run in runs),
            **gauge.figures(),
        )


if __name__ == "__main__":
    main()
