"""The laws of the house: names, imports, edges, values, documentation."""

import ast
import importlib
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml
from closure import LEFT_OUT, ROOT, closure_of, imports_of

from pipeline.config.params import SECTIONS, STAGES

DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
ROOMS = ("cache", "pipeline", "stages")
SOURCES = sorted(path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py"))
EVERY_FILE = sorted(
    path.relative_to(ROOT).as_posix()
    for room in (*ROOMS, "tests", "benchmarks", "docs")
    for path in (ROOT / room).rglob("*.py")
)
WORDS_THAT_SAY_NOTHING = {"one", "found", "made", "each"}
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGES = (  # from the top floor down
    "estimate",
    "evaluation",
    "inference",
    "report",
    "heads",
    "training",
    "gan",
    "augmentation",
    "features",
    "ingest",
    "networks",
    "runtime",
    "metrics",
    "config",
)
COMMANDS = sorted(path.stem for path in (ROOT / "stages").glob("[a-z]*.py"))


def test_names_of_stages_have_one_home() -> None:
    """Except in config/, whose Literal types cannot name a constant."""
    strings = [
        (path, node.value)
        for path in SOURCES
        if path.startswith("pipeline/") and not path.startswith("pipeline/config/")
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [(path, text) for path, text in strings if text.removeprefix("data/").split("/")[0] in SECTIONS] == []


def test_one_name_for_stage_file_section_folder_and_test() -> None:
    assert list(PARAMS) == list(SECTIONS)
    assert list(DVC) == list(STAGES)
    assert set(SECTIONS) <= set(COMMANDS)
    for name in COMMANDS:
        assert (ROOT / "tests" / "stages" / f"test_{name}.py").is_file()
    for name, stage in DVC.items():
        assert stage["cmd"] == f"python -m stages.{name}"
        sizes = ["featurize.backbone", "featurize.size"] if PARAMS[name].get("size") == "auto" else []
        keeping = ["train_model"] if PARAMS[name].get("keep") == "auto" else []
        assert stage["params"] == [name, *keeping, *(sizes if name != "featurize" else [])]
        outs = [next(iter(out)) if isinstance(out, dict) else out for out in stage["outs"]]
        assert outs == [f"data/{name}"]


@pytest.mark.parametrize("name", DVC)
def test_every_section_that_a_stage_reads_is_listed(name: str) -> None:
    """Or is that of a stage whose outputs it reads, directly or through others: then a change comes with those."""
    listed = {path.split(".")[0] for path in DVC[name]["params"]}
    assert _sections_read(ROOT / "stages" / f"{name}.py") <= listed | _upstream(name)


def test_a_section_that_a_stage_reads_is_seen() -> None:
    assert _sections_read(ROOT / "stages" / "augment.py") == {"augment", "train_model"}
    assert _upstream("featurize") == {"prepare", "augment", "gan"}


@pytest.mark.parametrize("name", DVC)
def test_dependencies_cover_the_import_closure_and_nothing_else(name: str) -> None:
    """Law 2: code by folder, configuration by file."""
    listed = [dep for dep in DVC[name]["deps"] if not dep.startswith(("data/", "${"))]
    closure = closure_of(f"stages/{name}.py")
    uncovered = {file for file in closure if not any(_covers(dep, file) for dep in listed)}
    assert uncovered == set()
    idle = {dep for dep in listed if not any(_covers(dep, file) for file in closure)}
    assert idle <= {"pipeline/recipes"}  # read by name, not imported


def test_the_drawing_stays_a_drawing() -> None:
    assert sum(len(stage["deps"]) for stage in DVC.values()) <= 90
    assert {"__pycache__/", "*.pyc", "*.swp"} <= set((ROOT / ".dvcignore").read_text(encoding="utf-8").split())


def test_pipeline_holds_packages_recipes_and_digits() -> None:
    entries = {path.name for path in (ROOT / "pipeline").iterdir()} - {"__pycache__", "__init__.py"}
    assert entries == {*PACKAGES, "recipes", "digits.txt"}


def test_a_package_says_what_it_is_for_in_one_line() -> None:
    for package in PACKAGES:
        docstring = ast.get_docstring(ast.parse((ROOT / "pipeline" / package / "__init__.py").read_text("utf-8")))
        assert docstring is not None and "\n" not in docstring, package


def test_imports_between_packages_run_down() -> None:
    """The order of PACKAGES is that of docs/architecture.md: a package imports only those below it."""
    floors = {package: floor for floor, package in enumerate(PACKAGES)}
    for source in SOURCES:
        package = _package_of(source)
        for imported in imports_of(ROOT / source) if package else ():
            below = _package_of(imported)
            assert below is None or floors[package] <= floors[below], f"{source} -> {imported}"


def test_packages_resolve_to_this_clone() -> None:
    for name in ("cache", "pipeline", "stages"):
        origin = importlib.import_module(name).__file__
        assert origin is not None and Path(origin).parent == ROOT / name


def test_imports_run_downward() -> None:
    """cache imports nothing of ours but cache; pipeline never stages."""
    for source in SOURCES:
        rooms = {imported.split("/")[0] for imported in imports_of(ROOT / source)}
        allowed = {"cache": {"cache"}, "pipeline": {"cache", "pipeline"}, "stages": {"cache", "pipeline", "stages"}}
        assert rooms <= allowed[source.split("/")[0]], source


def test_no_import_cycles() -> None:
    """Except through what every stage shares. Raises CycleError, which names the files."""
    kept = [source for source in SOURCES if source not in LEFT_OUT]
    TopologicalSorter({source: imports_of(ROOT / source) - LEFT_OUT for source in kept}).prepare()


@pytest.mark.parametrize(
    ("library", "owners"),
    [
        ("h5py", {"cache/reader.py", "cache/writer.py"}),
        ("imgaug", {"pipeline/augmentation/imgaug_engine.py"}),
        ("distributed", {"pipeline/runtime/workers.py"}),
        ("dask", {"pipeline/runtime/workers.py"}),
        ("yaml", {"pipeline/config/recipe.py", "pipeline/config/params.py", "stages/report.py"}),
        (
            "pickle",
            {"pipeline/features/checkpoints.py"},
        ),
    ],
)
def test_a_library_has_one_home(library: str, owners: set[str]) -> None:
    users = {source for source in SOURCES if library in _libraries_of(ROOT / source)}
    assert users <= owners


def test_the_middle_is_pure() -> None:
    """pipeline/ neither prints nor reads the command line."""
    for source in SOURCES:
        if source.startswith("pipeline/"):
            tree = ast.parse((ROOT / source).read_text(encoding="utf-8"))
            named = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
            calls = {function.id for function in named if isinstance(function, ast.Name)}
            assert "print" not in calls, source
            assert not _libraries_of(ROOT / source) & {"argparse", "typer"}, source


def test_package_files_hold_a_docstring_only() -> None:
    for source in SOURCES:
        if source.endswith("__init__.py"):
            body = ast.parse((ROOT / source).read_text(encoding="utf-8")).body
            assert len(body) == 1 and isinstance(body[0], ast.Expr), source


def test_values_have_one_home() -> None:
    """params.yaml holds every value: no field of a section has a default."""
    for name, section in SECTIONS.items():
        assert all(field.is_required() for field in section.model_fields.values()), name
        assert all(field.description for field in section.model_fields.values()), name
        assert set(PARAMS[name]) == set(section.model_fields), name


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "stages").glob("[!_]*.py")))
def test_stages_fit_on_a_screen(name: str) -> None:
    assert len((ROOT / "stages" / name).read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (
            # A GPU machine may lack these.
            [
                *(f"stages.{stage}" for stage in ("train_head", "train_model", "featurize", "evaluate", "pretrain")),
                *("pipeline.features.featurizer", "pipeline.heads.fit"),
                *("pipeline.training.fit", "pipeline.training.pretrain"),
            ],
            ["imgaug", "dask", "distributed", "dvc", "efficientnet_pytorch", "cv2"],
        ),
        (
            # --help is quick.
            [f"stages.{command}" for command in COMMANDS],
            ["torch", "torchvision", "sklearn", "scipy", "matplotlib", "imgaug", "dask"],
        ),
    ],
    ids=["reading the cache", "help"],
)
def test_what_is_imported_needs_few_libraries(modules: list[str], absent: list[str]) -> None:
    code = f"import sys, {', '.join(modules)}\nprint(sorted(set(sys.modules) & set({absent})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_parameter_is_documented(command: str) -> None:
    """In the README, in the command's own help, and on its page of docs/reference."""
    assert f"`{command}`" in README or f"{command} " in README, command
    page = (ROOT / "docs" / "reference" / f"{command}.md").read_text(encoding="utf-8")
    shown = subprocess.run(
        [sys.executable, "-m", f"stages.{command}", "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    for key in PARAMS.get(command, {}):
        assert key in shown, f"{command}.{key}"
        assert f"`{key}`" in page, f"{command}.{key}"


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("source", EVERY_FILE)
def test_names_are_nouns_and_a_statement_assigns_one_value(source: str) -> None:
    """No name is a word that says nothing, and no line is saved by packing assignments into one; tests included."""
    nodes = list(ast.walk(ast.parse((ROOT / source).read_text(encoding="utf-8"))))
    names = {(node.id, node.lineno) for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {(node.name, node.lineno) for node in nodes if isinstance(node, ast.FunctionDef)}
    if source != "cache/errors.py":  # an error's `found` is what was found, beside `expected`
        names |= {(node.arg, node.lineno) for node in nodes if isinstance(node, ast.arg)}
    assert {(name, line) for name, line in names if name in WORDS_THAT_SAY_NOTHING} == set()
    packed = [node.lineno for node in nodes if isinstance(node, ast.Assign) and _is_packed(node)]
    assert packed == []


def _sections_read(path: Path) -> set[str]:
    """The sections of params.yaml that a stage names as `params.<section>` or `job.params.<section>`."""
    attributes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)]
    return {node.attr for node in attributes if ast.unparse(node.value).split(".")[-1] == "params"} & set(SECTIONS)


def _upstream(name: str) -> set[str]:
    """The stages whose outputs a stage depends on, and those that these depend on."""
    direct = {dep.split("/")[1] for dep in DVC[name]["deps"] if dep.startswith("data/")}
    return direct.union(*map(_upstream, direct))


def _covers(dependency: str, file: str) -> bool:
    return file == dependency or file.startswith(f"{dependency}/")


def _is_packed(node: ast.Assign) -> bool:
    """Whether it assigns several values that have nothing to do with each other; swapping two names is one thing."""
    (target, *_) = node.targets
    value = node.value
    if not isinstance(target, ast.Tuple) or not isinstance(value, ast.Tuple):
        return False
    return {ast.dump(name).replace("Store", "Load") for name in target.elts} != {ast.dump(name) for name in value.elts}


def _package_of(source: str) -> str | None:
    """The package of pipeline/ that a file lies in."""
    room, package, *_ = source.split("/")
    return package if room == "pipeline" and package in PACKAGES else None


def _libraries_of(path: Path) -> set[str]:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])
    return imported
