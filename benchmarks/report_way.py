"""Report 001's own way as one plain script: imgaug in batches, EfficientNet through a DataLoader, HDF5, an MLP.

    python benchmarks/report_way.py PHOTOS FOLDER [--size 64]

PHOTOS: a folder of `<class>/*.jpg`. The six phases of the report: two epochs each on unaugmented, spatial_1, spatial_2,
color_1, spatial_3 and unaugmented features. What `benchmarks/first_run.py` compares the stages with.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from efficientnet_pytorch import EfficientNet
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pipeline.augmentation.imgaug_engine import import_imgaug, make_sequence
from pipeline.config.params import read_params

ROOT = Path(__file__).resolve().parents[1]
PHASES = ("unaugmented", "spatial_1", "spatial_2", "color_1", "spatial_3", "unaugmented")
BATCH = 32
MEAN, STD = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=64)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    images, labels = read_photos(given.photos, given.size)
    sets = {"unaugmented": images}
    for name, augmented in augmented_sets(images, given.size):
        sets[name] = augmented
    print(f"augment: {time.perf_counter() - started:.1f} s", flush=True)
    started = time.perf_counter()
    network = EfficientNet.from_name("efficientnet-b0").eval()
    for name, pixels in sets.items():
        with h5py.File(given.folder / f"{name}.h5", "w") as file:
            file["features"] = features_of(network, pixels)
            file["labels"] = labels
    print(f"featurize: {time.perf_counter() - started:.1f} s", flush=True)
    started = time.perf_counter()
    train_mlp(given.folder, int(labels.max()) + 1)
    print(f"train: {time.perf_counter() - started:.1f} s", flush=True)


def read_photos(folder: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    images = []
    labels = []
    for number, name in enumerate(classes):
        for path in sorted((folder / name).iterdir()):
            with Image.open(path) as image:
                images.append(np.asarray(image.convert("RGB").resize((size, size))))
            labels.append(number)
    return np.stack(images), np.array(labels)


def augmented_sets(images: np.ndarray, size: int) -> Iterator[tuple[str, np.ndarray]]:
    import_imgaug()
    policies = read_params(ROOT / "params.yaml", []).augment.policies
    for name in dict.fromkeys(PHASES):
        if name == "unaugmented":
            continue
        sequence = make_sequence(policies[name.rpartition("_")[0]])
        drawn = [
            image for at in range(0, len(images), 64) for image in sequence.augment_images(list(images[at : at + 64]))
        ]
        yield name, np.stack([np.asarray(Image.fromarray(image).resize((size, size))) for image in drawn])


def features_of(network: Any, pixels: np.ndarray) -> np.ndarray:
    rows = []
    loader = DataLoader(TensorDataset(torch.from_numpy(pixels)), BATCH)
    with torch.no_grad():
        for (batch,) in loader:
            normalised = (batch.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD
            rows.append(network.extract_features(normalised).mean(dim=(2, 3)).numpy())
    return np.concatenate(rows)


def train_mlp(folder: Path, classes: int) -> None:
    head = nn.Sequential(nn.Linear(1280, 512), nn.ReLU(), nn.Dropout(0.1), nn.Linear(512, classes))
    optimizer = torch.optim.Adam(head.parameters())
    for name in PHASES:
        with h5py.File(folder / f"{name}.h5") as file:
            features = torch.from_numpy(file["features"][:])
            labels = torch.from_numpy(file["labels"][:])
        for _ in range(2):
            for rows, targets in DataLoader(TensorDataset(features, labels), BATCH, shuffle=True):
                loss = nn.functional.cross_entropy(head(rows), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


if __name__ == "__main__":
    main()
