"""How good GAN samples are, in the space of the backbone's cached features; and which of them convince a head."""

from collections.abc import Mapping

import numpy as np
import torch

from cache.errors import InputError
from cache.layout import Array
from cache.records import FeatureSet
from pipeline.config.schedule import GAN
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.fit import fit_head, predict_logits
from pipeline.metrics.near_duplicates import nearest_rows


def judge_samples(
    samples: FeatureSet, train: FeatureSet, val: FeatureSet | None, near_duplicate: float
) -> dict[str, float]:
    """Fréchet distances (Heusel et al., NeurIPS 2017) of the samples to real images, and how near they come to them.

    frechet_real: between train and val, what samples as good as real ones would have, sizes aside: it grows where there
    are few rows. nearest: mean cosine of a sample to its nearest training image, and nearest_real the same of val; far
    above it, the generator copies. copies: share of samples with a near duplicate in train.
    """
    found = {"frechet_train": frechet(samples.features[:], train.features[:])}
    _, cosines = nearest_rows(samples.features[:], train.features[:])
    found |= {"nearest": float(cosines.mean()), "copies": float((cosines >= near_duplicate).mean())}
    if val is not None and len(val) > 1:
        _, real = nearest_rows(val.features[:], train.features[:])
        found["frechet_val"] = frechet(samples.features[:], val.features[:])
        found |= {"frechet_real": frechet(train.features[:], val.features[:]), "nearest_real": float(real.mean())}
    return found


def frechet(one: Array, other: Array) -> float:
    """Between the Gaussians of two sets of features [n, d] and [m, d], each of two rows or more."""
    means, covariances = [], []
    for rows in (one, other):
        exact = rows.astype(np.float64)
        means.append(exact.mean(axis=0))
        covariances.append(np.cov(exact, rowvar=False).reshape(exact.shape[1], -1))
    shared = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(0)).sum()
    distance = ((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * shared
    return max(0.0, float(distance))


def keep_convincing(
    train: Mapping[str, FeatureSet], val: Mapping[str, FeatureSet], config: TrainHeadConfig
) -> tuple[dict[str, FeatureSet], int]:
    """The sets without the samples to which a head, trained without any, gives their class less than config.gan_filter.

    Also how many were dropped. Nothing is trained where the filter is 0 or the schedule names no samples.
    """
    made = {phase.variant for phase in config.schedule if phase.variant.startswith(GAN)} & set(train)
    plain = [phase for phase in config.schedule if phase.variant not in made]
    if not config.gan_filter or not made or not plain:
        return dict(train), 0
    head = fit_head(train, val, config.model_copy(update={"schedule": plain})).head
    kept, dropped = dict(train), 0
    for variant in made:
        rows = train[variant]
        shares = torch.softmax(predict_logits(head, torch.from_numpy(rows.features[:])), dim=1).numpy()
        index = np.flatnonzero(shares[np.arange(len(rows)), rows.labels] >= config.gan_filter)
        if not len(index):
            remedy = "Lower train_head.gan_filter, or train the GAN longer."
            raise InputError("no GAN sample convinces a head", where=variant, remedy=remedy)
        kept[variant] = rows.take(index)
        dropped += len(rows) - len(index)
    return kept, dropped
