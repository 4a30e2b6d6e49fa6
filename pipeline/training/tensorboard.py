"""Curves of a training for TensorBoard, if it is wanted."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cache.errors import ParamsError
from pipeline.runtime.progress import Watch


@contextmanager
def tensorboard(folder: str | None, watch: Watch) -> Iterator[Watch]:
    """What also writes each epoch's row there as it comes; `watch` itself without a folder. Raises ParamsError."""
    if folder is None:
        yield watch
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        remedy = "Install the extra: pip install -e '.[tensorboard]'."
        raise ParamsError("TensorBoard is not installed", where="train_model.tensorboard", remedy=remedy) from error

    with SummaryWriter(folder) as writer:

        def log(curve: Mapping[str, Any]) -> None:
            watch.log(curve)
            for name, value in curve.items():
                if isinstance(value, float):
                    writer.add_scalar(name, value, int(curve["epoch"]))
            writer.flush()

        yield replace(watch, log=log)
