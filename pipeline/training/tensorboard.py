"""One row an epoch: as CSV for `dvc plots`, and for TensorBoard where it is wanted."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cache.errors import ParamsError


@contextmanager
def tensorboard(folder: str | None) -> Iterator[Callable[[Mapping[str, Any]], object]]:
    """What writes each epoch's row there as it comes; nothing without a folder. Raises ParamsError."""
    if folder is None:
        yield lambda curve: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        remedy = "Install the extra: pip install -e '.[tensorboard]'."
        raise ParamsError("TensorBoard is not installed", where="train_model.tensorboard", remedy=remedy) from error

    with SummaryWriter(folder) as writer:

        def log(curve: Mapping[str, Any]) -> None:
            for name, value in curve.items():
                if isinstance(value, float):
                    writer.add_scalar(name, value, int(curve["epoch"]))
            writer.flush()

        yield log
