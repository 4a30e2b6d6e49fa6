"""What ends a command is one line: also a GPU whose memory is too small."""

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
