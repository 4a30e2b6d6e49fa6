"""What the peers share, so that they differ in method alone: files, weights, inputs, and how time is counted."""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Options:
    """train, test: folders with one folder per class. began: when the process was started, in seconds of the epoch.

    mean, std: of the inputs in 0..1. flip: whether mirrored images are still of their class.
    """

    train: Path
    test: Path
    arch: str
    weights: Path
    mean: list[float]
    std: list[float]
    size: int
    epochs: int
    flip: bool
    began: float
    out: Path


def read_options() -> Options:
    """From the JSON file that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("options", type=Path)
    given = json.loads(parser.parse_args().options.read_text(encoding="utf-8"))
    return Options(**{**given, **{name: Path(given[name]) for name in ("train", "test", "weights", "out")}})


def network(options: Options, classes: int) -> Any:
    """timm's network with the given weights, and a new classifier if there are classes."""
    import timm
    from safetensors.torch import load_file

    model = timm.create_model(options.arch, pretrained=False, num_classes=classes)
    tensors = {name: tensor for name, tensor in load_file(options.weights).items() if "classifier" not in name}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    if unexpected or any(not name.startswith("classifier") for name in missing):
        raise SystemExit(f"{options.weights} are not weights of {options.arch}: {missing} {unexpected}")
    return model


def image_sets(options: Options, augmented: Any = None) -> tuple[Any, Any]:
    """train and test by torchvision. augmented: a transform of train before tensors are made, instead of resizing."""
    import torch
    from torchvision import datasets
    from torchvision.transforms import v2

    resize = v2.Resize((options.size, options.size), interpolation=v2.InterpolationMode.BICUBIC)
    to_input = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(options.mean, options.std)]
    train = datasets.ImageFolder(options.train, v2.Compose([augmented or resize, *to_input]))
    return train, datasets.ImageFolder(options.test, v2.Compose([resize, *to_input]))


def freeze_norms(model: Any) -> None:
    """Batch norms keep their statistics, as augcache's recipe keeps them; folded ones would be lost otherwise."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()


def accuracy(predicted: Any, actual: Any) -> float:
    return sum(int(left) == int(right) for left, right in zip(predicted, actual, strict=True)) / len(actual)


def report(options: Options, name: str, share: float) -> None:
    """Seconds from the start of the process to here, and accuracy on test."""
    point = {"name": name, "seconds": time.time() - options.began, "accuracy": share}
    options.out.write_text(json.dumps(point), encoding="utf-8")
    print(json.dumps(point))
