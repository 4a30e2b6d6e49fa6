"""Every step from Python, as docs/api.md tells: python docs/example.py [data folder] [bundle folder]."""

import sys
from pathlib import Path

from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from cache.reader import read_features, read_images
from pipeline.augmentation.policy import make_augmentation
from pipeline.config.params import read_params
from pipeline.inference.bundle import load_bundle
from pipeline.inference.estimators import HeadEstimator, ImageFeaturizer
from pipeline.inference.fine_tuner import FineTuner
from pipeline.metrics.predictions import Predictions
from pipeline.metrics.scores import evaluate

data, bundle_folder = map(Path, sys.argv[1:3] or ("data", "bundle"))
train = read_features(data / "featurize" / "train-unaugmented.h5")  # what the stages cached
print(f"head: {cross_val_score(HeadEstimator(), train.features[:], train.labels, cv=3).mean():.1%} in cross-validation")
images, test = (read_images(data / "prepare" / f"{split}.h5") for split in ("train", "test"))
drawn = make_augmentation(read_params(Path("params.yaml")).augment, "mild_1")(test.images[:], test.ids)
model = make_pipeline(ImageFeaturizer(), HeadEstimator()).fit(images.images[:], images.labels)
print(f"pipeline: {model.score(test.images[:], test.labels):.1%}, mild_1 {model.score(drawn, test.labels):.1%}")
tuned = FineTuner(schedule=["all x 1"], variants=["mild_1"]).fit(images.images[:], images.labels)
scores = evaluate(Predictions(tuned.predict_proba(test.images[:]), test.labels, test.ids, test.classes, "tuned"), 0.95)
print(f"fine-tuned: top-1 {scores.top1.percent()} of {scores.n} test images")
bundle = load_bundle(bundle_folder)  # takes arrays, PIL images and paths, and needs nothing of the project
print([bundle.classes[index] for index in bundle.predict(test.images[:4]).argmax(axis=1)])
