"""`python -m stages.relabel`: a reviewed table becomes an overlay, and the next run recomputes only what changed."""

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cache import layout
from cache.errors import InputError
from cache.reader import read_images
from pipeline.config.edit import edit_params
from pipeline.config.params import read_params
from stages import augment, featurize, prepare
from stages._cli import Job
from stages.relabel import app

ROOT = Path(__file__).parents[2]


@pytest.fixture
def params(photos: Path, tmp_path: Path) -> Path:
    values = {
        "prepare.source": str(photos), "prepare.size": 32, "prepare.val": "none", "prepare.test": 2,
        "augment.variants": ["color_1"], "augment.size": 32, "featurize.size": 32, "featurize.batch": 16,
        "featurize.backbone": "efficientnet:0.25x0.2/2", "featurize.weights": "random",
        "train_head.schedule": ["unaugmented x 2"],
    }  # fmt: skip
    path = tmp_path / "params.yaml"
    path.write_text(edit_params((ROOT / "params.yaml").read_text(encoding="utf-8"), values), encoding="utf-8")
    return path


def review(tmp_path: Path, *rows: Mapping[str, str]) -> Path:
    path = tmp_path / "data" / "report" / "review.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["kind", "file", "now", "label", "probability", "action"], restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def relabel(params: Path, *flags: str) -> Result:
    return CliRunner().invoke(app, ["--params", str(params), "--data", str(params.parent / "data"), *flags])


def run_stages(params: Path) -> dict[str, Job]:
    jobs = {}
    for name, stage in (("prepare", prepare), ("augment", augment), ("featurize", featurize)):
        data = params.parent / "data"
        (data / name).mkdir(parents=True, exist_ok=True)
        jobs[name] = Job(name, read_params(params), data, data / name, quiet=True)
        stage.run(jobs[name])
    return jobs


def test_the_next_run_recomputes_only_what_changed(photos: Path, params: Path, tmp_path: Path) -> None:
    first = run_stages(params)
    assert first["featurize"].facts["cached"] == 0
    before = {path: path.read_bytes() for path in photos.rglob("*.png")}
    train = list(csv.DictReader((tmp_path / "data" / "prepare" / "files.csv").open(encoding="utf-8")))
    changed, dropped = [row["path"] for row in train if row["split"] == "train" and row["class"] == "ant"][:2]
    review(tmp_path, {"file": changed, "action": "relabel", "label": "bee"}, {"file": dropped, "action": "drop"})
    result = relabel(params)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("relabel: 1 to relabel, 1 to drop, in ")
    second = run_stages(params)
    again = {row["path"]: row["class"] for row in csv.DictReader((tmp_path / "data/prepare/files.csv").open())}
    assert again[changed] == "bee" and dropped not in again and len(again) == 29
    rows = second["featurize"].facts["rows"]
    moved = rows - second["featurize"].facts["cached"]
    assert rows == 2 * 29 and moved == 0  # features are keyed by pixels, whatever their label and split
    assert {path: path.read_bytes() for path in photos.rglob("*.png")} == before


def splits_of(data: Path) -> dict[str, str]:
    with (data / "prepare" / "files.csv").open(encoding="utf-8", newline="") as file:
        return {row["path"]: row["split"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("duplicates", ["remove", "keep"])
def test_no_image_moves_between_splits(params: Path, tmp_path: Path, duplicates: str) -> None:
    """Fractions: ant loses five of ten images, bee gains three, so that each would hold out another number anew."""
    values = {"prepare.val": 0.1, "prepare.test": 0.2, "prepare.duplicates": duplicates}
    params.write_text(edit_params(params.read_text(encoding="utf-8"), values), encoding="utf-8")
    data = tmp_path / "data"
    (data / "prepare").mkdir(parents=True)

    def prepared() -> dict[str, str]:
        prepare.run(Job("prepare", read_params(params), data, data / "prepare", quiet=True))
        return splits_of(data)

    before = prepared()
    ants = [path for path, split in before.items() if path.startswith("ant") and split == "train"][:5]
    rows = [{"file": file, "action": "relabel", "label": "bee"} for file in ants[:3]]
    review(tmp_path, *rows, *({"file": file, "action": "drop"} for file in ants[3:]))
    relabel(params)
    assert prepared() == {path: split for path, split in before.items() if path not in ants[3:]}


def test_an_image_that_had_to_move_is_named(params: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_stages(params)
    held_out = [path for path, split in splits_of(tmp_path / "data").items() if (path[:3], split) == ("ant", "test")]
    review(tmp_path, *({"file": file, "action": "relabel", "label": "bee"} for file in held_out))
    relabel(params)
    capsys.readouterr()
    run_stages(params)
    said = capsys.readouterr().out
    assert "prepare: every image stays in its split" in said
    assert re.search(r"prepare: moved 1 image, because a class had none left in a split: ant/\w+.png into test", said)


def test_large_sets_are_corrected_as_small_ones_are(
    params: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are decoded by tasks, which guess the order of their class, and lie in part files."""
    review(
        tmp_path,
        *({"file": f"ant/ant_{row}.png", "action": "relabel", "label": "bee"} for row in range(3)),
        {"file": "cow/cow_4.png", "action": "drop"},
    )
    relabel(params)
    columns = []
    for folder, rows in (("small", 512), ("large", 4)):
        monkeypatch.setattr(layout, "PART_ROWS", {"images": rows, "features": rows})
        monkeypatch.setattr(layout, "LARGE_PARTS", 2)
        out = tmp_path / folder / "prepare"
        out.mkdir(parents=True)
        prepare.run(Job("prepare", read_params(params), tmp_path / folder, out, quiet=True))
        sets = [read_images(out / f"{split}.h5") for split in ("train", "test")]
        columns.append([column.tolist() for own in sets for column in (own.images[:], own.labels, own.ids)])
        assert (out / "train.parts").exists() is (folder == "large")
    assert columns[0] == columns[1]


def test_a_broken_file_that_is_dropped_stops_nothing(params: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "ant" / "broken.png").write_bytes(b"x")
    with pytest.raises(InputError, match="1 image cannot be read"):
        run_stages(params)
    review(tmp_path, {"file": "ant/broken.png", "action": "drop"})
    relabel(params)
    assert len(run_stages(params)) == 3


def test_corrections_are_added_to_earlier_ones_in_a_table_beside_the_source(params: Path, tmp_path: Path) -> None:
    review(tmp_path, {"file": "ant/ant_0.png", "action": "drop"}, {"file": "ant/ant_1.png", "now": "ant"})
    relabel(params)
    first = Path(str(read_params(params).prepare.relabel))
    assert first.parent == tmp_path and first.name.startswith("photos.relabel-")
    assert (tmp_path / "params.yaml.bak").exists()
    review(tmp_path, {"file": "bee/bee_0.png", "action": "relabel", "label": "cow"})
    assert "1 to relabel, beside 1 from before, in " in relabel(params).output
    second = Path(str(read_params(params).prepare.relabel))
    assert second.read_text() == "file,action,label\nant/ant_0.png,drop,\nbee/bee_0.png,relabel,cow\n"
    assert first.exists() and first != second
    suspects = [{"file": f"ant/ant_{number}.png", "kind": "suspected label"} for number in (0, 1)]
    review(tmp_path, *suspects, {"file": "bee/bee_0.png", "action": "keep"})  # an old table: ant_0 is decided about
    assert "1 to keep, beside 1 from before, in " in relabel(params).output
    third = Path(str(read_params(params).prepare.relabel))
    assert third.read_text() == "file,action,label\nant/ant_0.png,drop,\nant/ant_1.png,open,\nbee/bee_0.png,keep,\n"
    review(tmp_path, {"file": "ant/ant_1.png", "action": "keep"})
    relabel(params)
    assert "ant_1.png,keep" in Path(str(read_params(params).prepare.relabel)).read_text()
    assert relabel(params, "--reset").exit_code == 0
    assert read_params(params).prepare.relabel is None


def test_how_rounds_are_quicker_is_said_only_if_there_is_fine_tuning(params: Path, tmp_path: Path) -> None:
    review(tmp_path, {"file": "ant/ant_0.png", "action": "keep"})
    quicker = "relabel: until the last round, quicker:   make run SOURCE=... FLAGS=--no-finetune"
    assert quicker in relabel(params).output
    params.write_text(edit_params(params.read_text(encoding="utf-8"), {"train_model.recipe": "none"}), encoding="utf-8")
    assert quicker not in relabel(params).output


def test_nothing_to_do_changes_nothing(params: Path, tmp_path: Path) -> None:
    review(tmp_path, {"file": "ant/ant_0.png"})
    assert "no row has an action" in relabel(params).output
    assert read_params(params).prepare.relabel is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "no such table. Run report"),
        ("a,b\n1,2\n", "columns are missing"),
        ("file,action,label\nx,no,\n", "unknown action"),
        ("file,action,label\nx,relabel,dog\n", "unknown class; expected one of ant, bee, found dog"),
    ],
)
def test_bad_tables_are_one_line(params: Path, tmp_path: Path, text: str | None, line: str) -> None:
    path = tmp_path / "table.csv"
    (tmp_path / "data" / "prepare").mkdir(parents=True)
    (tmp_path / "data" / "prepare" / "manifest.json").write_text('{"classes": {"ant": {}, "bee": {}}}')
    if text is not None:
        path.write_text(text)
    result = relabel(params, str(path))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert line in result.stderr
    assert read_params(params).prepare.relabel is None


def test_an_unknown_class_is_refused_by_prepare(params: Path, tmp_path: Path, make_job: Callable[..., Job]) -> None:
    review(tmp_path, {"file": "ant/ant_0.png", "action": "relabel", "label": "dog"})
    relabel(params)
    with pytest.raises(InputError, match="unknown class; expected one of ant, bee, cow, found dog"):
        run_stages(params)
