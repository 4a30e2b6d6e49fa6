"""The field's terms in a few words, for readers of the page who do not know them."""

from pipeline.config.shared.stages import TRAIN_MODEL
from pipeline.report.results import TRAINERS, RunResults

GLOSSARY = {
    "top-1": "share of photos whose most probable class is the right one",
    "top-5": "share of photos whose right class is among the five most probable ones",
    "macro F1": "mean over classes of F1, which is high if few of a class are missed and few others taken for it",
    "train, val, test": "photos to train on, to choose by, and to judge by; those of test are used for nothing else",
    "interval": "where the true value most probably lies, as far as so few photos can tell",
    "backbone": "a network that has seen many other photos, and turns a photo into numbers, its features",
    "head": "a small classifier that takes a photo's features from the backbone",
    "full model": "backbone and head trained together",
    "variant": "a changed copy of every photo, such as a mirrored or a rotated one",
    "temperature": "a number by which probabilities are made less or more extreme, so that they fit how often they are "
    "right",
    "calibration error": "by how much stated probabilities differ from how often they are right",
    "cross-validation": "training several times without a part of the photos, and judging on that part",
    "confidence": "the probability of the most probable class",
    "precision": "of the photos taken for a class, the share that are of it",
    "recall": "of the photos of a class, the share that were taken for it",
    "phase": "neighbouring epochs of training on the same variants; an epoch shows every training photo once",
    "corruption": "a photo made worse on purpose, as cameras, weather and files do; shot noise is grain in the dark",
    "severity": "how strongly a photo was made worse, from 1, hardly seen, to 5, hard for people too",
    "confident learning": "finding wrong labels by classifiers that have not seen the photos and prefer other classes",
    "points": "hundredths: from 70 % to 75 % are five points",
}


def words_of(results: RunResults) -> dict[str, str]:
    """Terms and what they mean, without a full model if this run has none."""
    has_model = TRAIN_MODEL in results.trained
    return {word: meaning for word, meaning in GLOSSARY.items() if has_model or word != TRAINERS[TRAIN_MODEL]}
