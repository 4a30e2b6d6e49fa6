"""Which GAN samples convince a head that was trained without any."""

from collections.abc import Mapping

import numpy as np
import torch

from cache.errors import InputError
from cache.records import FeatureSet
from pipeline.config.shared.variants import GAN_PREFIX
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.fit import fit_head
from pipeline.networks.head import predict_logits


def keep_convincing(
    train: Mapping[str, FeatureSet], val: Mapping[str, FeatureSet], config: TrainHeadConfig
) -> tuple[dict[str, FeatureSet], int]:
    """The sets without those samples to whose class a head, trained without any, gives less than config.gan_filter.

    Also how many were dropped. Nothing is trained if the filter is 0 or the schedule names no samples.
    """
    sampled = {phase.variant for phase in config.schedule if phase.variant.startswith(GAN_PREFIX)} & set(train)
    plain = [phase for phase in config.schedule if phase.variant not in sampled]
    if not config.gan_filter or not sampled or not plain:
        return dict(train), 0
    head = fit_head(train, val, config.model_copy(update={"schedule": plain})).head
    kept = dict(train)
    dropped = 0
    for variant in sampled:
        rows = train[variant]
        shares = torch.softmax(predict_logits(head, torch.from_numpy(rows.features[:])), dim=1).numpy()
        index = np.flatnonzero(shares[np.arange(len(rows)), rows.labels] >= config.gan_filter)
        if not len(index):
            remedy = "Lower train_head.gan_filter, or train the GAN longer."
            raise InputError("no GAN sample convinces a head", where=variant, remedy=remedy)
        kept[variant] = rows.take(index)
        dropped += len(rows) - len(index)
    return kept, dropped
