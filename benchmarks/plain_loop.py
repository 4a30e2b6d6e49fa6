"""A recipe's network in the loop that a tutorial has: ImageFolder, torchvision transforms, a DataLoader, torch's SGD.

    python benchmarks/plain_loop.py --train cifar-10/train --test cifar-10/test [--recipe 002-v2-20-standard]
        [--epochs 10] [--seed 0] [--size 32]

Test accuracy of the last epoch, to stand beside that of `python -m stages.train_model --recipe ...` over the same JPEGs
and as many epochs. Only recipes of padded crops and flips have a plain loop.
"""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from stage_runs import machine, write_json
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from pipeline.config.recipe import Recipe, read_recipe
from pipeline.networks.factory import make_network
from pipeline.training.arithmetic import PRECISIONS
from pipeline.training.optim import make_optimizer, make_scheduler

MEAN = [0.4914, 0.4822, 0.4465]
DEVIATION = [0.2470, 0.2435, 0.2616]  # of CIFAR-10
FREE = {
    *("source", "reported", "chosen", "network", "schedule", "batch", "optimizer", "lr", "momentum", "nesterov"),
    *("weight_decay", "adam_eps", "lr_schedule", "milestones", "gamma", "min_lr", "rise", "warmup_epochs"),
    *("label_smoothing", "precision"),
}


def plain_epochs(folder: Path, recipe: Recipe, device: str, epochs: int, size: int) -> Iterator[nn.Module]:
    """The network after each epoch."""
    chosen = recipe.augmentation
    augmented = [v2.RandomCrop(size, padding=chosen.crop_padding), v2.RandomHorizontalFlip(chosen.flip)]
    images = ImageFolder(str(folder), v2.Compose([*augmented, *to_tensor()]))
    workers = os.cpu_count() or 1
    loader = DataLoader(
        images, recipe.batch, shuffle=True, num_workers=workers, persistent_workers=True, drop_last=True
    )
    network = make_network(recipe.network, len(images.classes)).to(device)
    optimizer = make_optimizer(network, recipe, None)
    scheduler = make_scheduler(optimizer, recipe, epochs * len(loader), len(loader))
    for _ in range(epochs):
        network.train()
        for pixels, labels in loader:
            with torch.autocast(device, PRECISIONS[recipe.precision], enabled=recipe.precision != "float32"):
                logits = network(pixels.to(device))
            loss = functional.cross_entropy(logits.float(), labels.to(device), label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        float(loss.detach())  # waits for a GPU
        yield network


def to_tensor() -> list[nn.Module]:
    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, DEVIATION)]


def accuracy(network: nn.Module, folder: Path, device: str) -> float:
    images = ImageFolder(str(folder), v2.Compose(to_tensor()))
    network.eval()
    right = 0
    with torch.inference_mode():
        for pixels, labels in DataLoader(images, 500):
            right += int((network(pixels.to(device)).argmax(dim=1).cpu() == labels).sum())
    return right / len(images)


def unlike_plain(recipe: Recipe) -> list[str]:
    """Keys, beyond the FREE ones, that the plain loop has no code for and that are not off."""
    values, plain = (chosen.model_dump(exclude=FREE) for chosen in (recipe, read_recipe("plain", {})))
    for section in (values, plain):
        section["augmentation"] |= {"crop_padding": 0, "flip": 0.0}
    return [key for key, value in values.items() if value != plain[key]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--recipe", default="002-v2-20-standard")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/plain_loop.json"))
    given = parser.parse_args()
    recipe = read_recipe(given.recipe, {})
    if others := unlike_plain(recipe):
        parser.error(f"{given.recipe} has what the plain loop has not: {', '.join(others)}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(given.seed)
    spent = 0.0
    started = time.perf_counter()
    for epoch, network in enumerate(plain_epochs(given.train, recipe, device, given.epochs, given.size), start=1):
        spent += time.perf_counter() - started
        top1 = accuracy(network, given.test, device)
        print(f"epoch {epoch:>3}: test accuracy {top1:.2%}, {spent:.0f} s", flush=True)
        started = time.perf_counter()
    record = {"recipe": given.recipe, "epochs": given.epochs, "seed": given.seed, "machine": machine()}
    write_json(given.out, {**record, "train_seconds": spent, "test_top1": top1})


if __name__ == "__main__":
    main()
