"""Images where training wants them: the whole set on the device, or streamed from disk piece by piece."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from cache.layout import Array
from cache.records import ImageSet
from pipeline.runtime.devices import to_device
from pipeline.runtime.seeds import make_generator

BLOCK = 64  # neighbouring rows that a stream reads together
SAMPLE = 4096  # images that mean and deviation are taken from


class ImageBatches:
    """Variants of the same photos in batches: uint8 [k, h, w, 3] and int64 [k], on the device.

    variants: one ImageSet, or several of n rows each, of which an epoch takes every row from one. A row of theirs is
    numbered as if they lay end to end. memory: bytes that may be kept; larger sets are streamed, and `order` then
    shuffles within and across pieces.
    """

    def __init__(self, variants: Sequence[ImageSet], device: torch.device, memory: float) -> None:
        self.variants = list(variants)
        self.images = self.variants[0]
        self.device = device
        self.labels = torch.from_numpy(np.asarray(self.images.labels, dtype=np.int64)).to(device)
        row = int(np.prod(self.images.images.shape[1:]))
        rows = len(self.images) * len(self.variants)
        self.resident = self._load(np.arange(rows)) if rows * row <= memory else None
        self.piece = max(BLOCK, int(memory / 2 / row))  # one is read while another is used

    def __len__(self) -> int:
        return len(self.images)

    def order(self, generator: np.random.Generator, balanced: bool, epoch: int = 0) -> Array:
        """Row numbers int [n] of one epoch; balanced: drawn with replacement, every class equally often.

        Of several variants, a photo shows another one in every epoch, and all of them in as many epochs as there are.
        """
        rows = self._shuffled(generator, balanced)
        if len(self.variants) == 1:
            return rows
        firsts = make_generator("mixed variants", len(self)).integers(len(self.variants), size=len(self))
        return np.asarray((firsts[rows] + epoch) % len(self.variants) * len(self) + rows)

    def _shuffled(self, generator: np.random.Generator, balanced: bool) -> Array:
        n = len(self)
        if balanced:
            weight = 1 / np.bincount(self.images.labels, minlength=len(self.images.classes)).clip(1)
            weight = weight[self.images.labels]
            return np.asarray(generator.choice(n, size=n, p=weight / weight.sum()))
        if self.resident is not None:
            return generator.permutation(n)
        blocks = np.array_split(np.arange(n), range(BLOCK, n, BLOCK))
        mixed = np.concatenate([blocks[number] for number in generator.permutation(len(blocks))])
        pieces = np.array_split(mixed, range(self.piece, n, self.piece))
        return np.concatenate([generator.permutation(piece) for piece in pieces])

    def batches(self, order: Array, batch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The rows of `order` in batches, from batch number `start` on; the last one may be smaller."""
        chosen = order[start * batch :]
        if self.resident is not None:
            for index in to_device(torch.from_numpy(chosen), self.device).split(batch):
                yield self.resident[index], self.labels[index % len(self)]
            return
        step = max(1, self.piece // batch) * batch
        pieces = [chosen[at : at + step] for at in range(0, len(chosen), step)]
        with ThreadPoolExecutor(1) as reader:
            ahead = [reader.submit(self._load, piece) for piece in pieces[:1]]
            for number, piece in enumerate(pieces):
                rows = ahead.pop().result()
                ahead = [reader.submit(self._load, following) for following in pieces[number + 1 : number + 2]]
                labels = self.labels[to_device(torch.from_numpy(piece % len(self)), self.device)]
                yield from zip(rows.split(batch), labels.split(batch), strict=True)

    def _load(self, index: Array) -> Tensor:
        """Rows on the device; read in the order of the files, each once."""
        wanted, position = np.unique(index, return_inverse=True)
        blocks = []
        for number, images in enumerate(self.variants):
            own = wanted[wanted // len(self) == number]
            if len(own):
                blocks.append(images.images[own % len(self)])
        rows = torch.from_numpy(np.concatenate(blocks) if len(blocks) > 1 else blocks[0]).to(self.device)
        return rows if np.array_equal(wanted, index) else rows[torch.from_numpy(position).to(self.device)]


def channel_statistics(images: ImageSet) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel in 0..255, over evenly spread images, as report 002 normalises."""
    index = np.unique(np.linspace(0, len(images) - 1, min(SAMPLE, len(images))).astype(np.int64))
    sums = np.zeros(3)
    squares = np.zeros(3)
    count = 0
    for start in range(0, len(index), BLOCK):  # as float64, all at once would take eight times their memory
        rows = images.images[index[start : start + BLOCK]].reshape(-1, 3)
        count += len(rows)
        sums += rows.sum(axis=0, dtype=np.float64)
        squares += np.square(rows, dtype=np.float64).sum(axis=0)
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 1.0))
    return mean.tolist(), deviation.tolist()
