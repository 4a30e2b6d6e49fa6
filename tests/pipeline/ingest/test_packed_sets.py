"""Data sets in a few large files are read as if their images lay in class folders."""

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache.errors import InputError
from pipeline.config.params import read_params
from pipeline.ingest import columns
from pipeline.ingest.archive import Entry, Unreadable, walk
from pipeline.ingest.listing import list_source
from pipeline.ingest.place import place

ROOT = Path(__file__).parents[3]


def entries(source: Path) -> dict[str, Entry]:
    return {entry.name: entry for entry in walk(str(source))}


def pixels(entry: Entry) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(entry.read())))


def cifar(folder: Path, file: str, width: int, label: int) -> np.ndarray:
    rows = np.random.default_rng(0).integers(0, 256, (3, width), dtype=np.uint8)
    rows[:, : width - 3072] = label
    folder.mkdir(parents=True, exist_ok=True)
    rows.tofile(folder / file)
    return rows


@pytest.mark.parametrize("packed", [False, True])
def test_cifar_10s_binary_version(tmp_path: Path, packed: bool) -> None:
    rows = cifar(tmp_path / "cifar", "data_batch_2.bin", 3073, 3)
    cifar(tmp_path / "cifar", "test_batch.bin", 3073, 9)
    source = tmp_path / "cifar"
    if packed:
        with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as tar:
            tar.add(source, "cifar-10-batches-bin")
        source = tmp_path / "cifar.tar.gz"
    images = entries(source)
    assert "train/cat/data_batch_2-00000.png" in images and "test/truck/test_batch-00002.png" in images
    image = pixels(images["train/cat/data_batch_2-00001.png"])
    assert image.shape == (32, 32, 3)
    assert image[0, 1].tolist() == rows[1, 1:].reshape(3, 32, 32)[:, 0, 1].tolist()


def test_cifar_100_has_its_fine_labels(tmp_path: Path) -> None:
    rows = cifar(tmp_path, "train.bin", 3074, 99)
    images = entries(tmp_path)
    assert next(iter(images)) == "train/worm/train-00000.png"
    assert (pixels(images["train/worm/train-00002.png"])[..., 2].ravel() == rows[2, -1024:]).all()


def test_a_file_that_only_is_called_so_stays_a_file(tmp_path: Path) -> None:
    (tmp_path / "train.bin").write_bytes(b"weights")
    assert list(entries(tmp_path)) == ["train.bin"]


def test_pickles_are_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02}q\x01.")
    with pytest.raises(InputError, match=r"data_batch_1: is a pickled data set.* Take the binary version"):
        entries(tmp_path)


def idx(folder: Path, split: str, count: int) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(1).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    (folder / f"{split}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, count, 28, 28) + images.tobytes())
    labels = struct.pack(">2I", 0x801, count) + bytes(number % 10 for number in range(count))
    (folder / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return images


def test_mnist_as_torchvision_leaves_it(tmp_path: Path) -> None:
    folder = tmp_path / "MNIST" / "raw"
    images = idx(folder, "train", 20)
    idx(folder, "t10k", 10)
    packed = gzip.compress((folder / "train-images-idx3-ubyte").read_bytes())
    (folder / "train-images-idx3-ubyte.gz").write_bytes(packed)  # beside it, not a second set
    contents = entries(tmp_path)
    assert len(contents) == 30 and "test/9/00009.png" in contents
    assert (pixels(contents["train/7/00017.png"]) == images[17]).all()
    config = read_params(ROOT / "params.yaml", [f"prepare.source={tmp_path}", "prepare.test=official"]).prepare
    layout = place(list_source(str(tmp_path)), config)
    assert layout.classes == tuple("0123456789") and layout.held.tolist().count(2) == 10


def test_damaged_idx_files_are_refused(tmp_path: Path) -> None:
    idx(tmp_path, "train", 20)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="is damaged, or no idx file"):
        entries(tmp_path)


def test_a_folder_of_shards_is_one_data_set(tmp_path: Path) -> None:
    for shard in ("train-0", "train-1", "val-0"):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for number in range(4):
                for ending, content in ((".png", png(number)), (".cls", b"%d" % (number % 2))):
                    info = tarfile.TarInfo(f"{number:03d}{ending}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    (tmp_path / "info.json").write_text("{}")
    config = read_params(ROOT / "params.yaml", [f"prepare.source={tmp_path}", "prepare.val=official"]).prepare
    layout = place(list_source(str(tmp_path)), config)
    assert (layout.classes, len(layout.names)) == (("0", "1"), 12)
    assert layout.held.tolist().count(1) == 4 and layout.names[0] == "train-0/000.png"


def png(number: int) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(target, "PNG")
    return target.getvalue()


@pytest.fixture
def described() -> "object":
    """A table as Hugging Face's library writes it."""
    pa = pytest.importorskip("pyarrow")
    features = {"image": {"_type": "Image"}, "kind": {"_type": "ClassLabel", "names": ["a/b", "dog"]}}
    rows = [{"bytes": png(number), "path": None} for number in range(3)] + [{"bytes": None, "path": "x.png"}]
    table = pa.table({"kind": [0, 1, -1, 1], "image": rows})
    return table.replace_schema_metadata({"huggingface": __import__("json").dumps({"info": {"features": features}})})


def test_parquet_files_hold_images(described: "object", tmp_path: Path) -> None:
    from pyarrow import parquet

    (tmp_path / "data").mkdir()
    parquet.write_table(described, tmp_path / "data" / "test-00000-of-00001.parquet")
    read = {}
    for entry in walk(str(tmp_path)):
        try:
            read[entry.name] = entry.read()
        except Unreadable as error:
            read[entry.name] = str(error).encode()
    stem = "test-00000-of-00001"
    assert read[f"test/a-b/{stem}-000000.png"] == png(0)
    assert f"unlabelled/{stem}-000002.png" in read
    assert read[f"test/dog/{stem}-000003.png"].startswith(b"has no bytes in its file")


def test_save_to_disk_is_read(described: "object", tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import ipc

    (tmp_path / "train").mkdir()
    path = str(tmp_path / "train" / "data-00000-of-00001.arrow")
    with pa.OSFile(path, "wb") as file, ipc.new_stream(file, described.schema) as stream:  # type: ignore[attr-defined]
        stream.write_table(described)
    (tmp_path / "train" / "state.json").write_text("{}")
    names = [entry.name for entry in walk(str(tmp_path))]
    assert "train/dog/data-00000-of-00001-000001.png" in names


def test_without_its_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(columns, "can_read", lambda: False)
    config = read_params(ROOT / "params.yaml", [f"prepare.source={tmp_path}"]).prepare
    with pytest.raises(InputError, match=r"holds no images.*install the extra: pip install -e \"\.\[datasets\]\""):
        place(list_source(str(tmp_path)), config)
