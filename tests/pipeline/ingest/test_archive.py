import bz2
import gzip
import io
import lzma
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cache.errors import InputError
from pipeline.ingest import archive
from pipeline.ingest import tar_stream as tarstream
from pipeline.ingest.archive import Unreadable, walk

FILES = {"top/a/one.png": b"1" * 700, "top/a/two.png": b"", "top/b/three.png": b"3" * 512, "top/notes.txt": b"words"}


def contents(source: Path) -> dict[str, bytes]:
    return {entry.name: entry.read() for entry in walk(str(source))}


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = size
    info.linkname = link
    return info


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            tar.addfile(member(name, size=len(content)), io.BytesIO(content))
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.xz", "tar.bz2", "tgz", "zip", "folder", "misnamed.bin"])
def test_every_container_gives_the_same_files(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"files.{ending}"
    modes = {"tar": "w", "tar.gz": "w:gz", "tgz": "w:gz", "tar.xz": "w:xz", "tar.bz2": "w:bz2", "misnamed.bin": "w:xz"}
    if ending == "zip":
        write_zip(path, FILES)
    elif ending == "folder":
        for name, content in FILES.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    else:
        write_tar(path, FILES, modes[ending])
    assert contents(path) == FILES


@pytest.mark.parametrize("ending", ["tar", "tar.xz", "zip", "folder"])
def test_the_first_bytes_of_a_file_can_be_read_alone(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"files.{ending}"
    if ending == "zip":
        write_zip(path, FILES)
    elif ending == "folder":
        (path / "top" / "a").mkdir(parents=True)
        (path / "top" / "a" / "one.png").write_bytes(FILES["top/a/one.png"])
    else:
        write_tar(path, FILES, {"tar": "w", "tar.xz": "w:xz"}[ending])
    assert [entry.read(5) for entry in walk(str(path)) if entry.name == "top/a/one.png"] == [b"1" * 5]


def test_digits_are_1797_images_in_ten_folders() -> None:
    names = [entry.name for entry in walk("digits")]
    assert (len(names), {name[:2] for name in names}) == (1797, {f"{digit}/" for digit in range(10)})


def test_an_archive_that_is_only_listed_is_not_read_wrongly(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar.xz", FILES, "w:xz")
    assert [entry.name for entry in walk(str(path))] == list(FILES)
    assert [entry.read() for entry in walk(str(path)) if entry.name.endswith("three.png")] == [b"3" * 512]


@pytest.mark.parametrize("name", ["/etc/passwd.png", "a/../../b.png", "..", "C:/x.png", "a/" + "n" * 5000])
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_unsafe_names_are_refused(tmp_path: Path, name: str, write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="unsafe name"):
        contents(write(tmp_path / "packed", {"a/ok.png": b"", name: b"x"}))


def test_backslashes_in_zip_names_are_folders_and_still_cannot_climb(tmp_path: Path) -> None:
    assert list(contents(write_zip(tmp_path / "a.zip", {"cat\\one.png": b"1"}))) == ["cat/one.png"]
    with pytest.raises(InputError, match="unsafe name"):
        contents(write_zip(tmp_path / "b.zip", {"..\\one.png": b"1"}))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_cannot_be_read(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(member("a/link.png", kind, link="/etc/passwd"))
        tar.addfile(member("a/real.png", size=1), io.BytesIO(b"1"))
    first, second = list(walk(str(tmp_path / "a.tar")))
    with pytest.raises(Unreadable, match="link or a device"):
        first.read()
    assert second.name == "a/real.png"


def test_a_link_in_a_zip_cannot_be_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        info = zipfile.ZipInfo("a/link.png")
        info.external_attr = 0o120777 << 16
        packed.writestr(info, "/etc/passwd")
    with pytest.raises(Unreadable, match="link or a device"):
        contents(tmp_path / "a.zip")


def test_links_in_a_folder_are_followed_inside_it_only(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "real.png").write_bytes(b"real")
    (root / "a" / "inside.png").symlink_to(root / "a" / "real.png")
    (root / "a" / "outside.png").symlink_to(tmp_path / "secret.png")
    (root / "a" / "round.png").symlink_to(root / "a" / "round.png")
    (root / "a" / "nowhere.png").symlink_to(root / "a" / "gone.png")
    os.mkfifo(root / "a" / "pipe.png")
    entries = {entry.name: entry for entry in walk(str(root))}
    assert entries["a/inside.png"].read() == b"real"
    for name, reason in [("outside", "leads out"), ("round", "cannot be"), ("nowhere", "No such"), ("pipe", "device")]:
        with pytest.raises(Unreadable, match=reason):
            entries[f"a/{name}.png"].read()


def test_a_link_to_a_folder_is_refused_and_a_loop_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    with pytest.raises(InputError, match="a/loop: is a link to a folder"):
        contents(tmp_path)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a/one.png": b"1"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is encrypted"):
        contents(path)


def test_a_damaged_zip_member_is_one_file_that_cannot_be_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("a/one.png", b"A" * 50)
        packed.writestr("a/two.png", b"fine")
    content = (tmp_path / "a.zip").read_bytes().replace(b"AAAA", b"AABA", 1)
    (tmp_path / "a.zip").write_bytes(content)
    first, second = list(walk(str(tmp_path / "a.zip")))
    with zipfile.ZipFile(tmp_path / "a.zip"), pytest.raises(Unreadable):
        first.read()
    assert second.name == "a/two.png"


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:xz", "w:bz2"])
@pytest.mark.parametrize("share", [0.15, 0.5, 0.8])
def test_a_tar_that_is_cut_short_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    random = np.random.default_rng(0)
    path = write_tar(tmp_path / "a", {f"c/{n}.png": random.bytes(900) for n in range(40)}, kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"a: is damaged, cut short, or no archive.*Fetch it again"):
        contents(path)


def test_a_tar_cut_between_two_members_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {f"c/{n}.png": b"x" * 512 for n in range(4)})
    path.write_bytes(path.read_bytes()[: 2 * 1024])
    with pytest.raises(InputError, match="ends or breaks at byte"):
        contents(path)


def test_a_broken_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {f"c/{n}.png": b"x" * 512 for n in range(4)})
    content = bytearray(path.read_bytes())
    content[2 * 1024 + 3] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="ends or breaks at byte"):
        contents(path)


def test_archives_joined_end_to_end_are_refused(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", {"a/1.png": b"1"}).read_bytes()
    (tmp_path / "b.tar").write_bytes(whole + whole)
    with pytest.raises(InputError, match="more follows after its end"):
        contents(tmp_path / "b.tar")


def test_xz_in_several_streams_is_one_archive(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", FILES).read_bytes()
    (tmp_path / "b.tar.xz").write_bytes(lzma.compress(whole[:1000]) + b"\0" * 8 + lzma.compress(whole[1000:]))
    (tmp_path / "c.tar.bz2").write_bytes(bz2.compress(whole[:1000]) + bz2.compress(whole[1000:]))
    assert contents(tmp_path / "b.tar.xz") == contents(tmp_path / "c.tar.bz2") == FILES


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress, bz2.compress])
def test_an_archive_that_unpacks_to_far_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(tarstream, "RATIO_FREE", 1 << 20)
    plain = write_tar(tmp_path / "a.tar", {"a/bomb.png": b"\0" * (8 << 20)}).read_bytes()
    (tmp_path / "b").write_bytes(pack(plain))
    with pytest.raises(InputError, match="more than 200 times its size"):
        contents(tmp_path / "b")


def test_a_zip_bomb_is_refused_by_what_it_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarstream, "RATIO_FREE", 1 << 20)
    with pytest.raises(InputError, match="more than 200 times its size"):
        contents(write_zip(tmp_path / "a.zip", {"a/bomb.png": b"\0" * (8 << 20)}))


def test_a_member_that_is_too_large_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MEMBER_BYTES", 600)
    write_tar(tmp_path / "a.tar", FILES)
    write_zip(tmp_path / "a.zip", FILES)
    for name in ("a.tar", "a.zip"):
        reads = {entry.name: entry for entry in walk(str(tmp_path / name)) if entry.name == "top/a/one.png"}
        with pytest.raises(Unreadable, match="is larger than"):
            reads["top/a/one.png"].read()


def test_a_header_that_asks_for_too_much_is_refused(tmp_path: Path) -> None:
    huge = member("a", tarfile.XHDTYPE, size=1 << 40).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes(huge + b"\0" * 4096)
    with pytest.raises(InputError, match="a header asks for"):
        contents(tmp_path / "a.tar")


def test_a_negative_size_does_not_hang(tmp_path: Path) -> None:
    header = bytearray(member("a/one.png").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 11 + b"\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) * 3 + b"\0" * 1024)
    with pytest.raises(InputError):
        contents(tmp_path / "a.tar")


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_too_many_members_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    monkeypatch.setattr(tarstream, "MEMBERS", 3)
    with pytest.raises(InputError, match="too many members; expected at most 3, found 4"):
        contents(write(tmp_path / "packed", FILES))


def test_names_of_any_encoding_become_one_printable_name(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9")).write_bytes(b"")
    (folder / "cafe\u0301\u001b[31m\n").write_bytes(b"")
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(folder, "")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("cafX", "")
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"cafX", b"caf\xe9"))
    expected = {"caf\\udce9", "caf\u00e9\\x1b[31m\\n"}
    assert {entry.name for entry in walk(str(folder))} == expected
    assert {entry.name for entry in walk(str(tmp_path / "a.tar"))} == expected
    assert [entry.name for entry in walk(str(tmp_path / "a.zip"))] == ["caf\u0398"]  # byte 0xe9 of code page 437


@pytest.mark.parametrize("kind", ["folder", "tar", "zip"])
def test_folders_are_told_the_empty_ones_too(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "root"
    (root / "a" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a" / "deep" / "1.png").write_bytes(b"")
    source = str(root) if kind == "folder" else shutil.make_archive(str(tmp_path / "packed"), kind, root)
    folders: set[str] = set()
    assert [entry.name for entry in walk(source, folders.add)] == ["a/deep/1.png"]
    assert folders - {""} == {"a", "a/deep", "empty"}


@pytest.mark.parametrize(
    ("content", "line"),
    [(None, "no such folder or archive; expected a folder"), (b"", "no archive"), (b"\x89PNG" * 400, "no archive")],
)
def test_what_is_no_source_is_refused(tmp_path: Path, content: bytes | None, line: str) -> None:
    path = tmp_path / "source"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=line):
        contents(path)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "zip"])
def test_mutated_archives_are_read_or_refused_and_nothing_else(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        write_zip(path, FILES)
    else:
        write_tar(path, FILES, {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz"}[kind])
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(int(random.integers(1, 4))):
            content[int(random.integers(0, min(len(content), 4096)))] = int(random.integers(0, 256))
        path.write_bytes(content)
        try:
            contents(path)
        except InputError as error:
            assert "\n" not in str(error)
