"""Resident or streamed, every epoch gives the same rows with their labels, in an order that its generator decides."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cache.reader import read_images
from cache.records import ImageSet
from cache.writer import write_images
from pipeline.training.batches import BLOCK, SAMPLE, ImageBatches, channel_statistics

CPU = torch.device("cpu")
ROW = 4 * 4 * 3  # bytes
Make = Callable[..., ImageSet]


@pytest.fixture
def make_stored(tmp_path: Path) -> Make:
    """Images on disk whose first two pixels spell their row: `make_stored(n, labels)`."""

    def make(n: int, labels: np.ndarray | None = None) -> ImageSet:
        pixels = np.random.default_rng(0).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
        pixels[:, 0, 0, 0] = np.arange(n) // 256
        pixels[:, 0, 1, 0] = np.arange(n) % 256
        ids = np.array([f"{row:064x}".encode() for row in range(n)], dtype="S64")
        chosen = np.arange(n) % 3 if labels is None else labels
        write_images(tmp_path / "a.h5", ImageSet(pixels, chosen, ids, ("ant", "bee", "cow")))
        return read_images(tmp_path / "a.h5")

    return make


def streamed(images: ImageSet, rows: int) -> ImageBatches:
    """Never more than about this many rows in memory."""
    pixels = ImageBatches([images], CPU, rows * ROW)
    assert pixels.resident is None
    return pixels


def read_through(pixels: ImageBatches, order: np.ndarray, batch: int, start: int = 0) -> tuple[list[int], list[int]]:
    """Rows, as their pixels spell them, and labels of an epoch from a batch on."""
    rows = []
    labels = []
    for images, own in pixels.batches(order, batch, start):
        assert images.dtype == torch.uint8 and images.shape[1:] == (4, 4, 3) and len(own) == len(images) <= batch
        rows += (images[:, 0, 0, 0].long() * 256 + images[:, 0, 1, 0]).tolist()
        labels += own.tolist()
    return rows, labels


@pytest.mark.parametrize("memory", [1e9, 300 * ROW, 130 * ROW])
@pytest.mark.parametrize("batch", [32, 100])
def test_an_epoch_has_every_row_once_in_its_order_with_its_label(make_stored: Make, memory: float, batch: int) -> None:
    pixels = ImageBatches([make_stored(700)], CPU, memory)
    assert (pixels.resident is None) == (memory < 1e9) and len(pixels) == 700
    for epoch in range(2):
        order = pixels.order(np.random.default_rng(epoch), balanced=False)
        rows, labels = read_through(pixels, order, batch)
        assert rows == order.tolist() and labels == [row % 3 for row in rows]
        assert sorted(rows) == list(range(700))


def test_a_set_is_kept_where_it_fits_to_the_byte(make_stored: Make) -> None:
    images = make_stored(10)
    assert ImageBatches([images], CPU, 10 * ROW).resident is not None
    assert ImageBatches([images], CPU, 10 * ROW - 1).resident is None


def test_every_epoch_has_an_order_of_its_own_and_a_generator_gives_it_again(make_stored: Make) -> None:
    for pixels in (ImageBatches([make_stored(700)], CPU, 1e9), streamed(make_stored(700), 200)):
        first, again, other = (pixels.order(np.random.default_rng(seed), balanced=False) for seed in (1, 1, 2))
        assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_streamed_order_shuffles_across_pieces_and_within(make_stored: Make) -> None:
    pixels = streamed(make_stored(4000), 1024)
    order = pixels.order(np.random.default_rng(0), balanced=False)
    pieces = [order[at : at + pixels.piece] for at in range(0, 4000, pixels.piece)]
    assert pixels.piece == 512
    for piece in pieces[:-1]:
        assert len({row // 512 for row in piece.tolist()}) >= 4  # blocks come from all over the file
        assert len({row // BLOCK for row in piece.tolist()}) <= 512 // BLOCK + 1  # yet few of them, to read in runs
        assert float((np.diff(piece) == 1).mean()) < 0.05


@pytest.mark.parametrize("memory", [1e9, 130 * ROW])
@pytest.mark.parametrize("balanced", [False, True])
def test_an_epoch_goes_on_from_any_batch(make_stored: Make, memory: float, balanced: bool) -> None:
    pixels = ImageBatches([make_stored(300)], CPU, memory)
    order = pixels.order(np.random.default_rng(0), balanced)
    rows, labels = read_through(pixels, order, 32)
    for start in (0, 1, 3, 9, 10, 11):
        assert read_through(pixels, order, 32, start) == (rows[32 * start :], labels[32 * start :])


def test_all_batches_but_the_last_are_full_even_when_larger_than_a_piece(make_stored: Make) -> None:
    for pixels in (ImageBatches([make_stored(300)], CPU, 1e9), streamed(make_stored(300), 128)):
        for batch in (7, 64, 100, 128):
            sizes = [len(labels) for _, labels in pixels.batches(np.arange(300), batch)]
            assert sizes == [batch] * (300 // batch) + [300 % batch] * (300 % batch > 0)


@pytest.mark.parametrize("memory", [1e9, 130 * ROW])
def test_a_balanced_order_draws_every_class_equally_often(make_stored: Make, memory: float) -> None:
    labels = np.repeat([0, 1, 2], [20, 80, 500])
    pixels = ImageBatches([make_stored(600, labels)], CPU, memory)
    generator = np.random.default_rng(0)
    order = np.concatenate([pixels.order(generator, balanced=True) for _ in range(10)])
    assert len(order) == 6000
    assert np.bincount(labels[order], minlength=3) == pytest.approx(np.full(3, 2000), abs=150)
    assert len(np.unique(order[labels[order] == 0])) == 20  # and, in a class, every image


def test_a_class_without_images_is_never_drawn(make_stored: Make) -> None:
    pixels = ImageBatches([make_stored(40, np.repeat([0, 2], 20))], CPU, 1e9)
    drawn = pixels.images.labels[pixels.order(np.random.default_rng(0), balanced=True)]
    assert set(drawn.tolist()) == {0, 2}


def test_rows_drawn_twice_are_given_twice(make_stored: Make) -> None:
    order = np.array([5, 299, 5, 0, 5])
    for pixels in (ImageBatches([make_stored(300)], CPU, 1e9), streamed(make_stored(300), 128)):
        assert read_through(pixels, order, 2)[0] == order.tolist()


def test_channel_statistics_are_those_of_all_pixels(make_stored: Make) -> None:
    images = make_stored(500)
    mean, deviation = channel_statistics(images)
    pixels = images.images[:].reshape(-1, 3).astype(np.float64)
    assert mean == pytest.approx(pixels.mean(axis=0), abs=1e-9)
    assert deviation == pytest.approx(pixels.std(axis=0), abs=1e-9)


def test_channel_statistics_of_one_colour_do_not_divide_by_nothing() -> None:
    flat = np.full((3, 4, 4, 3), 7, dtype=np.uint8)
    assert channel_statistics(ImageSet(flat, np.zeros(3, int), np.zeros(3, "S64"), ("ant",))) == ([7] * 3, [1] * 3)


def test_channel_statistics_of_a_large_set_see_all_of_it_evenly() -> None:
    n = 3 * SAMPLE  # sorted by brightness, as sets are sorted by class
    rows = np.repeat((np.arange(n) * 256 // n).astype(np.uint8), 3).reshape(n, 1, 1, 3)
    mean, deviation = channel_statistics(ImageSet(rows, np.zeros(n, int), np.zeros(n, "S64"), ("ant",)))
    assert mean == pytest.approx([127.5] * 3, abs=0.5) and deviation == pytest.approx([73.9] * 3, abs=0.5)
