"""Cache, estimators and a bundle from Python: python docs/example.py [data folder] [bundle folder]."""

import sys
from pathlib import Path

from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from torch.utils.data import DataLoader

from cache.reader import read_features, read_images
from pipeline.inference.bundle import load_bundle
from pipeline.inference.estimators import HeadEstimator, ImageFeaturizer
from pipeline.training.dataset import CachedDataset

data, bundle_folder = map(Path, sys.argv[1:3] or ("data", "bundle"))

# Cached features are arrays. HeadEstimator follows scikit-learn's conventions; any other estimator fits on them too.
train = read_features(data / "featurize" / "train-unaugmented.h5")
print(f"head: {cross_val_score(HeadEstimator(), train.features[:], train.labels, cv=3).mean():.1%} in cross-validation")

# From images to classes in one pipeline; features come from the part store if they are there.
images, test = (read_images(data / "prepare" / f"{split}.h5") for split in ("train", "test"))
model = make_pipeline(ImageFeaturizer(), HeadEstimator(epochs=8)).fit(images.images[:], images.labels)
print(f"pipeline: {model.score(test.images[:], test.labels):.1%} of {len(test)} test images")

features, labels = next(iter(DataLoader(CachedDataset(train), batch_size=32, shuffle=True)))  # the same for torch
print(f"one batch: {tuple(features.shape)} {features.dtype}, labels of {len(set(labels.tolist()))} classes")
bundle = load_bundle(bundle_folder)  # takes arrays, PIL images and paths, and needs nothing of the project
print([bundle.classes[index] for index in bundle.predict(test.images[:4]).argmax(axis=1)])
