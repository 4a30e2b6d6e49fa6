"""How a command ends: errors as one line, also of a GPU whose memory is too small; its code, output and processes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer

from stages._process import one_line_errors


def test_too_little_memory_on_a_gpu_is_one_line_with_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, one_line_errors("featurize", debug=False):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nIncluding more lines.")
    said = capsys.readouterr().err
    assert ended.value.exit_code == 2 and said.count("\n") == 1
    assert "Tried to allocate 20.00 GiB" in said and "smaller batch in section featurize" in said


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(RuntimeError, match="a bug"), one_line_errors("featurize", debug=False):
        raise RuntimeError("a bug")
    with pytest.raises(torch.OutOfMemoryError), one_line_errors("featurize", debug=True):
        raise torch.OutOfMemoryError("seen with --debug")


def ending(body: str, tmp_path: Path, **streams: object) -> "subprocess.CompletedProcess[str]":
    """A command of this body, run to its end as those of stages are."""
    script = tmp_path / "command.py"
    script.write_text(
        "import atexit, sys, threading, time\nimport typer\nfrom stages._process import run_to_end\n"
        f"def command() -> None:\n    {body}\n"
        "app = typer.Typer()\napp.command()(command)\nrun_to_end(app)\n"
    )
    line = [sys.executable, str(script)]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run(line, text=True, timeout=60, check=False, cwd=Path(__file__).parents[2], **piped)


@pytest.mark.parametrize(
    ("body", "code", "printed"),
    [
        ("print('done')", 0, "done\n"),
        ("raise typer.Exit(3)", 3, ""),
        ("sys.exit('a reason')", 1, ""),
        ("atexit.register(print, 'at the end')", 0, "at the end\n"),
        ("threading.Thread(target=lambda: (time.sleep(0.2), print('a thread'))).start()", 0, "a thread\n"),
    ],
)
def test_a_command_ends_with_its_code_and_all_that_it_has_begun(
    body: str, code: int, printed: str, tmp_path: Path
) -> None:
    done = ending(body, tmp_path)
    assert (done.returncode, done.stdout) == (code, printed), done.stderr


def test_a_command_whose_local_processes_nobody_stopped_ends_at_once(tmp_path: Path) -> None:
    body = "from joblib import Parallel, delayed; print(Parallel(2)(delayed(abs)(n) for n in (-1, -2)))"
    done = ending(body, tmp_path)
    assert (done.returncode, done.stdout) == (0, "[1, 2]\n")
    assert "Traceback" not in done.stderr


def test_a_command_without_an_output_ends_well(tmp_path: Path) -> None:
    done = ending("sys.stdout = None", tmp_path)
    assert done.returncode == 0 and done.stderr == ""
