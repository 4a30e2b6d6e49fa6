"""Use the cache and a bundle from Python: python docs/example.py [data folder] [bundle folder]."""

import sys
from pathlib import Path

from sklearn.linear_model import LogisticRegression
from torch.utils.data import DataLoader

from cache.reader import read_features, read_images
from pipeline.inference.bundle import load_bundle
from pipeline.training.dataset import CachedDataset

data, bundle_folder = map(Path, sys.argv[1:3] or ("data", "bundle"))

# Features as arrays: any scikit-learn estimator fits on them.
train, test = (read_features(data / "featurize" / f"{split}-unaugmented.h5") for split in ("train", "test"))
model = LogisticRegression(max_iter=1000).fit(train.features[:], train.labels)
print(f"logistic regression: {model.score(test.features[:], test.labels):.1%} of {len(test)} test images")

# The same as a torch Dataset; images work alike.
features, labels = next(iter(DataLoader(CachedDataset(train), batch_size=32, shuffle=True)))
print(f"one batch: {tuple(features.shape)} {features.dtype}, labels of {len(set(labels.tolist()))} classes")

# A bundle takes raw images and needs nothing of the project.
bundle, images = load_bundle(bundle_folder), read_images(data / "prepare" / "test.h5")
probabilities = bundle.predict(images.images[:4])
print([bundle.classes[index] for index in probabilities.argmax(axis=1)], probabilities.max(axis=1).round(3))
