"""What search found is read back on the same source, and on no other."""

import json
from pathlib import Path

import pytest

from pipeline.config.params import read_params
from pipeline.estimate.findings import facts_of, read_findings
from pipeline.heads.policy_search import PolicyChoice, PolicyTrial
from pipeline.runtime.run_record import record_path

ROOT = Path(__file__).resolve().parents[3]
BEST = PolicyTrial("noise_strong", 0.5, 0.8, 0.04, 0.01)
CHOICE = PolicyChoice([BEST], BEST, {"noise_strong": [{"AdditiveGaussianNoise": {"scale": [0, 20]}}]})


def write(data: Path, text: str) -> None:
    path = record_path(data, "search")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_findings_read_back_as_they_were_written(tmp_path: Path) -> None:
    prepared = read_params(ROOT / "params.yaml", ["prepare.source=photos"]).prepare
    write(tmp_path, json.dumps(facts_of(CHOICE, ["noise_strong_1"], prepared)))
    findings = read_findings(tmp_path, str(Path("photos").absolute()))
    assert findings is not None and findings.policies == CHOICE.policies
    assert (findings.variants, findings.gain, findings.error) == (("noise_strong_1",), 0.04, 0.01)
    assert read_findings(tmp_path, "others") is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"source": "photos"}', '{"source": "photos", "findings": {}}'])
def test_a_record_without_findings_is_none(tmp_path: Path, text: str) -> None:
    """Such as one of a search before it kept them."""
    write(tmp_path, text)
    assert read_findings(tmp_path, "photos") is None
    assert read_findings(tmp_path / "nowhere", "photos") is None
