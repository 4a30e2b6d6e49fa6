import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from cache.errors import InputError
from pipeline.ingest.archive import walk
from pipeline.ingest.names import ending_of, folder_of, is_hidden, look_alike_key, printable, system_part, zip_name


def zip_of(path: Path, names: list[bytes], utf8: bool = False) -> Path:
    """A zip whose members have exactly these bytes as names. utf8: with the flag that says so."""
    with zipfile.ZipFile(path, "w") as packed:
        for number, name in enumerate(names):
            packed.writestr(f"{number}".zfill(len(name)), b"x")
    content = path.read_bytes()
    for number, name in enumerate(names):
        content = content.replace(f"{number}".zfill(len(name)).encode(), name)
    if utf8:
        flags = {b"PK\x03\x04": 6, b"PK\x01\x02": 8}
        content = bytearray(content)
        for signature, offset in flags.items():
            at = content.find(signature)
            while at >= 0:
                content[at + offset + 1] |= 0x08
                at = content.find(signature, at + 4)
    path.write_bytes(content)
    return path


def names_in(path: Path) -> list[str]:
    return [entry.name for entry in walk(str(path))]


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("überraschung/ä.png".encode(), "überraschung/ä.png"),
        ("猫/1.png".encode(), "猫/1.png"),
        ("überraschung/ä.png".encode("cp437"), "überraschung/ä.png"),
        ("ñandú/ç1.png".encode("cp437"), "ñandú/ç1.png"),
        (b"caf\xe9/one.png", "cafΘ/one.png"),
    ],
)
def test_zip_names_without_the_flag_are_cp437_unless_they_are_utf8(tmp_path: Path, raw: bytes, name: str) -> None:
    assert names_in(zip_of(tmp_path / "a.zip", [raw])) == [name]


def test_the_unicode_path_extra_field_has_the_last_word(tmp_path: Path) -> None:
    for name, checked in (("a", b"cat/1.png"), ("b", b"other")):
        info = zipfile.ZipInfo("cat/1.png")
        content = struct.pack("<BL", 1, zlib.crc32(checked)) + "猫/1.png".encode()
        info.extra = struct.pack("<HH", 0x5455, 1) + b"\1" + struct.pack("<HH", 0x7075, len(content)) + content
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as packed:
            packed.writestr(info, b"x")
    assert names_in(tmp_path / "a.zip") == ["猫/1.png"]
    assert names_in(tmp_path / "b.zip") == ["cat/1.png"]  # the field is of another name


@pytest.mark.parametrize("encoding", ["cp932", "cp950", "gbk"])
def test_every_character_with_a_backslash_in_it_is_kept_whole(encoding: str) -> None:
    info = zipfile.ZipInfo("x")
    characters = 0
    for first in range(0x80, 0x100):
        raw = bytes([first, 0x5C])
        try:
            width = len(raw.decode(encoding))
        except UnicodeDecodeError:
            continue
        characters += width == 1
        info.filename = (b"a" + raw + b"/" + raw).decode("cp437")
        assert zip_name(info).count("/") == 1 or width == 2
    assert characters > 30


def test_any_bytes_make_a_name(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    info = zipfile.ZipInfo("x")
    for length in range(1, 400):
        raw = random.integers(1, 256, length, dtype=np.uint8).tobytes()
        info.filename = raw.decode("cp437")
        assert "\n" not in printable(zip_name(info))


def test_zip_names_with_the_flag_are_utf8(tmp_path: Path) -> None:
    assert names_in(zip_of(tmp_path / "a.zip", ["猫/1.png".encode()], utf8=True)) == ["猫/1.png"]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp932", "表/1.png"),
        ("cp932", "ソ/能.png"),
        ("cp932", "ｱ表/十.png"),
        ("cp950", "功/許.png"),
        ("cp950", "蓋/1.png"),
        ("gbk", "乗/1.png"),
    ],
)
def test_a_byte_of_a_character_is_no_folder_separator(tmp_path: Path, encoding: str, text: str) -> None:
    raw = text.encode(encoding)
    assert b"\\" in raw
    (name,) = names_in(zip_of(tmp_path / "a.zip", [raw]))
    assert name.count("/") == 1
    assert name.encode("cp437") == raw


def test_real_backslashes_beside_characters_of_shift_jis_are_separators(tmp_path: Path) -> None:
    raw = "表".encode("cp932") + b"\\" + "能1.png".encode("cp932")
    (name,) = names_in(zip_of(tmp_path / "a.zip", [raw]))
    assert [part.encode("cp437").decode("cp932") for part in name.split("/")] == ["表", "能1.png"]


def test_names_that_no_one_can_decode_stay_distinct_and_printable(tmp_path: Path) -> None:
    names = names_in(zip_of(tmp_path / "a.zip", [b"\xff\xfe/1.png", b"\xfe\xff/1.png", b"a\x01/1.png", b"a\x02/1.png"]))
    assert len(set(names)) == 4
    assert all(name.isprintable() or "\xa0" in name for name in names)


@pytest.mark.parametrize(
    "name",
    [
        "क्\u200dष",
        "می\u200cخواهم",
        "👩\u200d🔬",
        "\U0001f3f4\U000e0067\U000e0062\U000e007f",
        "猫\u3000一",
        "photo at 3\u202fPM",
        "ü x",
    ],
)
def test_characters_that_scripts_need_are_kept(name: str) -> None:
    assert printable(name) == name


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a\nb", "a\\nb"),
        ("a\r\u2028b", "a\\r\\u2028b"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2066b\u2069", "a\\u2066b\\u2069"),
        ("\u061ca", "\\u061ca"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\udce9", "\\udce9"),
        ("\ufeffa\u200b", "\\ufeffa\\u200b"),
        ("cafe\u0301", "caf\u00e9"),
    ],
)
def test_what_breaks_a_line_or_turns_its_direction_is_escaped(name: str, line: str) -> None:
    assert printable(name) == line


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("a/@eaDir/1.png/thumb.jpg", "@eaDir"),
        ("#recycle/1.png", "#recycle"),
        ("a/.thumbnails/1.png", ".thumbnails"),
        ("__MACOSX/a/._1.png", "__MACOSX"),
        ("$RECYCLE.BIN/1.png", "$RECYCLE.BIN"),
        ("System Volume Information/x", "System Volume Information"),
        ("a/.ipynb_checkpoints/1.png", ".ipynb_checkpoints"),
        ("a/Thumbs.db", "Thumbs.db"),
        ("a/.DS_Store", "hidden"),
        ("a/._1.png", "hidden"),
        ("a/1.png", ""),
    ],
)
def test_what_belongs_to_the_system_is_told_by_its_part(name: str, part: str) -> None:
    assert system_part(name) == part
    assert is_hidden(name) == bool(part)


def test_endings_are_told_in_any_case_and_without_blanks() -> None:
    names = ("a.JPG", "a.jpg ", "a.png\t", "b/c.d/a", "a.tar.gz", ".png", "a.jpg.bak")
    assert [ending_of(name) for name in names] == [".jpg", ".jpg", ".png", "", ".gz", "", ".bak"]


def test_the_folder_of_a_file() -> None:
    assert [folder_of(name) for name in ("a/b/1.png", "1.png")] == ["a/b", ""]


def test_names_that_a_reader_takes_for_one_look_alike() -> None:
    alike = ["Cat", "cat", "cat ", "c\u200dat", "\uff43\uff41\uff54"]
    assert {look_alike_key(name) for name in alike} == {"cat"}
    assert look_alike_key("cats") != "cat"


def test_an_unsafe_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.zip: holds an unsafe name; found '\.\./1.png'. Pack it again"):
        names_in(zip_of(tmp_path / "a.zip", [b"../1.png"]))
