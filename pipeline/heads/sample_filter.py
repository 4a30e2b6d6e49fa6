"""How good GAN samples are, in the space of the backbone's cached features; and which of them convince a head."""

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
    """The sets without the samples to which a head, trained without any, gives their class less than config.gan_filter.

    Also how many were dropped. Nothing is trained where the filter is 0 or the schedule names no samples.
    """
    made = {phase.variant for phase in config.schedule if phase.variant.startswith(GAN_PREFIX)} & set(train)
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
