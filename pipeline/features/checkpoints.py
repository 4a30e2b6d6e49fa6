"""Checkpoints: tensors from a file without running its code, in the wrappings that trainers put around them."""

import contextlib
import pickle
import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cache.errors import InputError

# What torch's loader raises for broken files, found by breaking twelve thousand.
MALFORMED = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError)
# Keys under which trainers keep weights. Averaged ones come first: they are what a trainer evaluates.
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "teacher")
PLAIN = ("state_dict", "model", "model_state_dict", "module", "backbone", "network", "net", "weights", "params")
NESTED = 3  # mappings inside mappings that are looked into
SAVE = "torch.save(model.state_dict(), PATH)"
REMEDY = f"Save the tensors alone: {SAVE}, or convert them to safetensors."
TRY = "Give advprop, imagenet, pretrained, random, or the path of a .safetensors or .pth file."
AVERAGED_PREFIXES = ("ema", "teacher")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name from .safetensors or a pickle-free .pth, out of the wrapping of a trainer if there is one.

    Averaged weights (EMA) are preferred. Raises InputError; runs no code from the file.
    """
    if not path.is_file():
        raise InputError("no such weights", where="params.yaml featurize.weights", found=repr(str(path)), remedy=TRY)
    return _unwrapped(_loaded(path), path, NESTED)


def _loaded(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with _plain_records_allowed():
            return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.PickleError, struct.error, *MALFORMED) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError("weights cannot be read", where=path, found=reason, remedy=REMEDY) from error


def _plain_records_allowed() -> contextlib.AbstractContextManager[Any]:
    """Lets torch's safe loader make what trainers keep beside weights and what holds values only."""
    scalar: Any = np.float64(0).__reduce__()[0]  # the function that makes numpy's numbers; its home moves
    dtypes = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64)]
    return torch.serialization.safe_globals([(SimpleNamespace, "argparse.Namespace"), np.dtype, scalar, *dtypes])


def _unwrapped(loaded: Any, path: Path, depth: int) -> dict[str, Tensor]:
    if isinstance(loaded, Mapping) and loaded and all(isinstance(value, Tensor) for value in loaded.values()):
        return dict(loaded)
    inner = {key: value for key, value in loaded.items() if isinstance(value, Mapping)} if _is_mapping(loaded) else {}
    named = [key for key in (*AVERAGED, *PLAIN) if key in inner]
    if depth and named:
        return _unwrapped(inner[named[0]], path, depth - 1)
    actual = f"the keys {', '.join(list(map(str, loaded))[:8])}" if _is_mapping(loaded) else type(loaded).__name__
    expected = f"names with tensors, or such a mapping under one of {', '.join((*AVERAGED[:2], *PLAIN[:3]))}"
    raise InputError("file holds no mapping of names to tensors", where=path, expected=expected, found=actual)


def _is_mapping(loaded: Any) -> bool:
    return isinstance(loaded, Mapping)


def without_prefix(tensors: Mapping[str, Tensor], names: Collection[str], path: Path) -> dict[str, Tensor]:
    """The tensors under the prefix that fits most of a network's names, such as `module.` or Lightning's `model.`.

    What lies outside that prefix belongs to the trainer. Averaged weights are preferred. Raises InputError if two
    prefixes fit equally well.
    """
    prefixes = {""}
    for anchor in names:
        prefixes |= {key.removesuffix(anchor) for key in tensors if key.endswith(f".{anchor}")}
    fits = {prefix: sum(f"{prefix}{name}" in tensors for name in names) for prefix in prefixes}
    most = max(fits.values())
    best = sorted(prefix for prefix, count in fits.items() if count == most)
    if most <= len(names) / 2:  # another network, or other names, which prefixes do not mend
        return dict(tensors)
    averaged = [prefix for prefix in best if any(word in prefix for word in AVERAGED_PREFIXES)]
    best = averaged if len(averaged) == 1 else best
    if len(best) > 1:
        what = "file holds several networks that fit"
        expected = "one"
        raise InputError(what, where=path, expected=expected, found=", ".join(map(repr, best)), remedy=REMEDY)
    return {key.removeprefix(best[0]): value for key, value in tensors.items() if key.startswith(best[0])}


def check_fit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Raise InputError unless the tensors are those of a network, name for name and shape for shape."""
    lacking = sorted(key for key in set(expected) - set(tensors) if not key.endswith("num_batches_tracked"))
    foreign = sorted(set(tensors) - set(expected))
    wrong = [key for key in expected if key in tensors and expected[key].shape != tensors[key].shape]
    if lacking or foreign or wrong:
        counts = f"{len(lacking)} missing, {len(foreign)} unknown, {len(wrong)} of another shape"
        first = (lacking + foreign + wrong)[0]
        raise InputError(
            "weights do not fit the backbone", where=path, expected="every tensor", found=f"{counts}, such as {first}"
        )
