"""Records of runs: the parameters that a stage used are known for as long as its outputs are those it wrote."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config.params import Params, read_params
from pipeline.runtime.run_record import fingerprint, make_record, params_used

ROOT = Path(__file__).resolve().parents[3]
NOW = read_params(ROOT / "params.yaml")
THEN = read_params(ROOT / "params.yaml", ["train_head.lr=0.0625", "train_head.hidden=[7]", "evaluate.worst=3"])


def train_head(data: Path, params: Params) -> None:
    """What a run of the stage leaves."""
    folder = data / "train_head"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps({"lr": params.train_head.lr}), encoding="utf-8")
    (data / "runs").mkdir(exist_ok=True)
    record = make_record(params.train_head, folder)
    (data / "runs" / "train_head.json").write_text(json.dumps(record), encoding="utf-8")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """train_head ran with other values than params.yaml holds; no other stage ran."""
    train_head(tmp_path / "data", THEN)
    return tmp_path / "data"


def test_a_section_is_the_one_that_its_stage_ran_with(data: Path) -> None:
    used = params_used(data, NOW)
    assert used.train_head == THEN.train_head
    assert used.evaluate == NOW.evaluate  # evaluate left no record


def test_outputs_that_dvc_restored_belong_to_the_parameters_of_the_moment(data: Path) -> None:
    (data / "train_head" / "metrics.json").write_text('{"lr": 0.01}', encoding="utf-8")
    assert params_used(data, NOW) == NOW


@pytest.mark.parametrize("record", ["{", "[]", "{}", '{"params": {"lr": 1}, "outputs": "OUTPUTS"}'])
def test_a_record_that_does_not_fit_is_passed_over(data: Path, record: str) -> None:
    """Records of an older version have no section, or one of other keys."""
    text = record.replace("OUTPUTS", fingerprint(data / "train_head"))
    (data / "runs" / "train_head.json").write_text(text, encoding="utf-8")
    assert params_used(data, NOW) == NOW


def test_a_fingerprint_sees_names_sizes_and_contents(tmp_path: Path) -> None:
    def of(**files: bytes) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return fingerprint(folder)

    prints = [of(a=b"x"), of(b=b"x"), of(a=b"y"), of(a=b"x", b=b""), of(a=b"x" * 100_000), of(a=b"x" * 100_001)]
    assert len(set(prints)) == len(prints)
    assert of(a=b"x") == prints[0]


def test_the_command_line_records_what_set_changed(project: list[str], tmp_path: Path) -> None:
    """`train_head --set train_head.lr=…`, then another stage with params.yaml as it is."""
    command = [sys.executable, "-m", "stages.train_head", *project, "--set", "train_head.lr=0.003"]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    assert params_used(tmp_path / "data", NOW).train_head.lr == 0.003
    bundle = str(tmp_path / "bundle")
    subprocess.run([sys.executable, "-m", "stages.export", *project, "--out", bundle], check=True, cwd=ROOT)
    provenance = json.loads((tmp_path / "bundle" / "bundle.json").read_text(encoding="utf-8"))["provenance"]
    assert provenance["params"]["train_head"]["lr"] == 0.003
    beside = [*command[:-1], "train_head.lr=0.004", "--out", str(tmp_path / "beside")]
    subprocess.run(beside, check=True, capture_output=True, cwd=ROOT)
    assert params_used(tmp_path / "data", NOW).train_head.lr == 0.003  # an experiment beside the run
