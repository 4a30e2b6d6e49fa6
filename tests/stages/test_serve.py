"""`python -m stages.serve`: its service over a project, its page, its refusals."""

import io
import re
import socket
from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

from stages import _serve as steps
from stages._cli import Job
from stages.serve import app


def test_the_service_of_a_project_knows_its_training_images(
    project: list[str], photos: Path, make_job: Callable[..., Job]
) -> None:
    job = make_job("serve", Path(project[1]), *project[3::2])
    service = steps.make_service(job, None, None, [])
    answer = service.describe((photos / "bee" / "bee_3.png").read_bytes())
    assert {own["name"] for own in answer["classes"]} == {"ant", "bee", "cow"}
    assert len(answer["nearest"]) == 4 and all(near["file"].endswith(".png") for near in answer["nearest"])
    assert "unknown" in answer and "measured" not in answer  # there is no val split
    assert service.page == steps.PAGE.read_bytes()


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = steps.PAGE.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:)", page) and "innerHTML" not in page
    assert re.findall(r"fetch\(\"(.*?)\"", page) == ["/predict"]
    assert "`How sure that is: ${answer.measured}.`" in page  # which goes on `of the 45 images of val, ...`


def test_a_port_in_use_is_one_line(project: list[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = CliRunner().invoke(app, ["--port", str(taken.getsockname()[1]), *project])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "cannot be served on" in result.stderr and "--port 0 takes any that is free" in result.stderr


def test_without_a_classifier_the_remedy_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--data", str(tmp_path)])
    assert (result.exit_code, result.stderr) == (2, f"error: {tmp_path}/train_head: no classifier. Run train_head.\n")
    assert io.StringIO(result.stdout).read() == ""
