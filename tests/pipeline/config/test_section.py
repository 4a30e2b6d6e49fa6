"""params.yaml: every wrong value is one line that says which key, what was expected and what was found."""

from pathlib import Path

import pytest
import yaml

from cache.errors import ParamsError
from pipeline.config.params import SECTIONS, read_params
from pipeline.config.shared.schedule import Phase
from pipeline.config.train_head import TrainHeadConfig

ROOT = Path(__file__).resolve().parents[3]
PARAMS = ROOT / "params.yaml"


def test_the_project_s_own_values_are_valid() -> None:
    assert list(read_params(PARAMS).sections) == list(SECTIONS)


def test_the_default_schedule_has_the_phases_of_the_report_s() -> None:
    config = read_params(PARAMS, []).train_head
    assert isinstance(config, TrainHeadConfig)
    variants = ["unaugmented", "mild_1", "mild_2", "mild_3", "mild_4", "unaugmented"]
    assert config.schedule == [Phase(variant, 2) for variant in variants]


def test_overrides_replace_values_as_on_dvc_s_command_line() -> None:
    config = read_params(PARAMS, ["train_head.lr=0.5", "train_head.schedule=[unaugmented x 3]"]).train_head
    assert isinstance(config, TrainHeadConfig)
    assert config.lr == 0.5 and config.schedule == [Phase("unaugmented", 3)]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train_head.lrr=1", "Did you mean 'lr'?"),
        ("train_heads.lr=1", "expected one of prepare"),
        ("train_head.lr=-1", "train_head.lr: input should be greater than 0; found -1"),
        ("train_head.lr=fast", "train_head.lr"),
        ("train_head.schedule=[spatial_9 x 2]", "expected one of unaugmented, mild_1"),
        ("train_head.schedule=[spatial_1]", "a phase is `<variant> x <epochs>`"),
        ("train_head.schedule=[]", "train_head.schedule"),
        ("augment.variants=[blur_1]", "expected one of auto, color, mild, rand, spatial"),
        ("augment.variants=[spatial_1, spatial_1]", "repeated"),
        ("augment.variants=[spatial]", "<policy>_<draw>"),
        ("prepare.val=0", "a fraction, a count per class, `official` or `none`"),
        ("prepare.val=1.5", "prepare.val"),
        ("featurize.engine=turbo", "'compile' or 'onnx'"),
        ("lr=3", "section.key=value"),
        ("train_head.lr", "section.key=value"),
        ("train_head.lr=[", "not YAML"),
        ("train_head.schedule=[all x 2]", "one variant per phase"),
        ("train_head.schedule=[unaugmented | spatial_1 x 2]", "one variant per phase"),
    ],
)
def test_a_wrong_value_is_one_clear_line(override: str, says: str) -> None:
    with pytest.raises(ParamsError) as error:
        read_params(PARAMS, [override])
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_missing_or_unknown_section_is_named(tmp_path: Path) -> None:
    values = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({**values, "trainhead": {}}), encoding="utf-8")
    with pytest.raises(ParamsError, match="train_head"):
        read_params(path, [])
    del values["evaluate"]
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(ParamsError, match="evaluate"):
        read_params(path, [])


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    values = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    del values["train_head"]["lr"]
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(ParamsError, match=r"Add train_head\.lr to params\.yaml"):
        read_params(path, [])


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "just words"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ParamsError, match=r"params\.yaml"):
        read_params(path, [])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="no such file"):
        read_params(tmp_path / "params.yaml", [])


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("gan.wgan.lr=-1", r"params.yaml gan\.wgan\.lr: .*found -1\. It is learning rate of RMSprop"),
        ("gan.conv.wdth=3", r"gan\.conv: unknown name.*found 'wdth'. Did you mean 'width'"),
        ("gan.wgan={lr: 1}", r"gan\.wgan\.iterations: key is missing. Add gan\.wgan\.iterations to params\.yaml"),
        ("prepare.imbalance={classes: 3}", r"prepare\.imbalance\.largest: key is missing"),
        ("prepare.imbalance={classes: 3, largest: 2, smallest: 5, shape: 1}", "smallest is above"),
        ("evaluate.attacks=[{eps: 1, steps: 1, restarts: 1, siz: 3}]", r"evaluate\.attacks\.0: unknown name"),
    ],
)
def test_a_wrong_key_inside_a_section_is_named_by_its_whole_path(override: str, reason: str) -> None:
    with pytest.raises(ParamsError, match=reason):
        read_params(ROOT / "params.yaml", [override])
