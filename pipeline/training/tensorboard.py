"""One row an epoch: as CSV for `dvc plots`, and for TensorBoard where it is wanted."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cache.errors import ParamsError

COLUMNS = ("epoch", "variant", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy")


def curves_csv(curves: Sequence[Mapping[str, Any]]) -> str:
    """The header alone where there are no epochs; empty cells where there is no validation set."""
    text = io.StringIO()
    columns = dict.fromkeys([*COLUMNS, *(name for row in curves for name in row)])  # DVC's plots want them all
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(curves)
    return text.getvalue()


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
