"""A recipe's epoch in a plain torchvision loop over the same JPEGs: ImageFolder, transforms, a DataLoader, SGD.

    python benchmarks/gpu/plain.py --recipe 002-prop-fast --images cifar-10/train

Two epochs, of which the second is measured, with the recipe's own batch; in float32 (TF32 in convolutions, torch's
default) and with autocast as the recipe has it.
"""

import tempfile
import time
from pathlib import Path

from common import DEVICE, DRY, coloured_images, folder_option, option, record, wait
from PIL import Image
from plain_loop import plain_epochs

from pipeline.config.recipe import read_recipe

SMALL = {"network": {"name": "resnetv2", "widths": [8, 16], "blocks": 1}, "batch": 32}


def main() -> None:
    name = option("recipe", "002-prop-fast")
    recipe = read_recipe(name, SMALL if DRY else {})
    with tempfile.TemporaryDirectory() as scratch:
        folder = folder_option("images")
        if folder is None or DRY:
            folder = Path(scratch)
            write_jpegs(folder)
        count = sum(1 for _ in folder.rglob("*.jpg"))
        for precision in (recipe.precision, "float32"):
            epochs = plain_epochs(folder, recipe.model_copy(update={"precision": precision}), DEVICE, 2, 32)
            next(epochs)
            wait()
            started = time.perf_counter()
            next(epochs)
            wait()
            seconds = time.perf_counter() - started
            rate = count // recipe.batch * recipe.batch / seconds
            record("plain torchvision loop", recipe=name, precision=precision, images_per_second=rate, seconds=seconds)


def write_jpegs(folder: Path) -> None:
    images = coloured_images(128, 32, 4)
    for number, (pixels, label) in enumerate(zip(images.images, images.labels, strict=True)):
        path = folder / str(label) / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)


if __name__ == "__main__":
    main()
