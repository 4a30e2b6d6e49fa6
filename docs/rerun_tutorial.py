"""Run every command of docs/tutorial.md and write what it prints into the page: python docs/rerun_tutorial.py.

With --check the page stays, and another output than the written one is an error; `make test-tutorial` does that.
Commands run one after the other in a fresh copy of this clone, with a part store of their own. Beside each command
stands how long it took, and how much of the processors, which does not depend on what else they do.

Tools that do such things were weighed: cram, prysk and byexample want marks in the text for what differs between
machines; mdsh and cog compare to the letter. Neither leaves out the lines that DVC prints about itself.
"""

import difflib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = "$ "
WIDTH = 120  # characters, after which a printed line ends in CUT
CUT = " …"
DVC_LINES = re.compile(
    r"Running stage |> python |(Generating|Updating) lock file |Reproducing |Ran experiment|Experiment results"
    r"|Changes for experiment|To track the changes |\tgit add |To enable auto staging|\tdvc config |Use `dvc push`"
)
AMOUNT = re.compile(r"\d[\d,.]* (s|min|h|MB|GB|processor threads)\b")  # that another machine may not need or have
MEASUREMENT = re.compile(r"\d\.\d|\d ?%|\de-\d|^report: suspected labels: |^predict: ")
NUMBER = re.compile(r"[-+−]?([a-z]+_)?\d+([.,]\d+)*(e[-+]?\d+)?")  # or a variant: which is the worst, numbers decide


def rerun(page: str, run: Callable[[str], str]) -> str:
    """The page with the output of each command of its console blocks, in order. run: gives what a command prints."""
    return BLOCK.sub(lambda block: f"```console\n{''.join(_transcript(block[1], run))}```", page)


def _transcript(block: str, run: Callable[[str], str]) -> Iterator[str]:
    for command in commands_of(block):
        yield f"{PROMPT}{command}\n"
        yield from (f"{shortened(line)}\n" for line in run(command).splitlines())


def commands_of(block: str) -> list[str]:
    """The commands of a console block; one that ends in a backslash goes on in the next line."""
    commands: list[str] = []
    for line in block.splitlines():
        if commands and commands[-1].endswith("\\"):
            commands[-1] += f"\n{line}"
        elif line.startswith(PROMPT):
            commands.append(line.removeprefix(PROMPT))
        elif not commands:
            raise ValueError(f"a console block begins with {line!r} instead of {PROMPT!r}")
    return commands


def shortened(line: str) -> str:
    """A long line up to its last whole word."""
    return line if len(line) <= WIDTH else line[: WIDTH - len(CUT) + 1].rpartition(" ")[0] + CUT


def masked(line: str) -> str:
    """What has to be the same on every machine.

    In a line that tells a measurement, with a fraction or a percentage or of what a classifier says, any number may
    differ; else only seconds, bytes and threads.
    """
    plain = AMOUNT.sub("#", " ".join(line.split()))
    return NUMBER.sub("#", plain) if MEASUREMENT.search(plain) else plain


def differences(written: str, fresh: str) -> list[str]:
    """The lines of a diff between two pages, both masked; none if only what may differ does."""
    old = [masked(line) for line in written.splitlines()]
    new = [masked(line) for line in fresh.splitlines()]
    return list(difflib.unified_diff(old, new, "written", "printed now", lineterm="", n=2))


def copy_clone(folder: Path) -> None:
    """Copy what git knows or does not ignore into a repository of its own, which DVC's experiments need."""
    listed = _git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    _git(folder, "init", "--quiet")
    _git(folder, "config", "user.name", "tutorial")
    _git(folder, "config", "user.email", "tutorial@localhost")
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--message", "a copy")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603, S607
    return done.stdout


def run_in(folder: Path, command: str) -> str:
    """What a command prints in a folder, without what DVC says about itself. Ends the program if the command fails."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "AUGCACHE_STORE": str(folder.parent / "store"),
        "CUDA_VISIBLE_DEVICES": "",
        "COLUMNS": str(WIDTH),
    }
    shell = ["bash", "-c", f"exec 2>&1; {command}"]
    started = time.perf_counter()
    before = _processor_seconds()
    done = subprocess.run(shell, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    seconds = time.perf_counter() - started
    print(f"{seconds:6.1f} s {_processor_seconds() - before:6.1f} s  {command}", file=sys.stderr)
    if done.returncode != 0:
        raise SystemExit(f"{command}\n{done.stdout}\nended with code {done.returncode}")
    lines = [line.rstrip().replace(f"{folder}/", "") for line in done.stdout.splitlines()]
    return "\n".join(line for line in lines if line and not DVC_LINES.match(line))


def _processor_seconds() -> float:
    """Of all commands so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main(arguments: list[str]) -> None:
    """Rewrite the page, or compare it."""
    written = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="augcache-") as temporary:
        folder = Path(temporary).resolve() / "augcache"
        folder.mkdir()
        copy_clone(folder)
        fresh = rerun(written, lambda command: run_in(folder, command))
        print(f"all on the processors: {_processor_seconds():.0f} s", file=sys.stderr)
    if arguments != ["--check"]:
        PAGE.write_text(fresh, encoding="utf-8")
    elif different := differences(written, fresh):
        raise SystemExit("\n".join([*different, f"{PAGE.name} is stale: run python docs/rerun_tutorial.py"]))


if __name__ == "__main__":
    main(sys.argv[1:])
