"""The lists of sources behind identities and the core are whole, and name nothing that is not there."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from engine.core.extension import core
from engine.sources import (
    ENGINE,
    HEADER_SOURCES,
    NO_RESULT_SOURCES,
    RESULT_SOURCES,
    core_digest,
    source_files,
)
from sweep.plan.cell import engine_fingerprint

ROOT: Final = ENGINE.parent
BUILT: Final = Path(core.__file__)


def test_each_file_of_the_engine_is_in_one_list() -> None:
    """A file makes results or does not, and whoever adds one says which."""
    there = {path for path in ENGINE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    files = there - {BUILT}
    makes, does_not = set(source_files(RESULT_SOURCES)), set(source_files(NO_RESULT_SOURCES))

    assert makes | does_not == files
    assert not makes & does_not


def test_each_pattern_names_something() -> None:
    """No list holds a name of what is gone."""
    patterns = {*RESULT_SOURCES, *NO_RESULT_SOURCES}

    assert [pattern for pattern in patterns if not source_files([pattern])] == []


def test_what_declares_the_header_imports_nothing_that_is_not_listed() -> None:
    """No declaration that C takes from Python can change without another hash: the list is closed under imports."""
    listed = source_files(HEADER_SOURCES)
    imported = {name for path in listed for name in modules_imported(path)} - {"engine.sources"}

    assert {module_file(name) for name in imported} - {None} <= {*listed}
    assert {ENGINE / "vocabulary.py", ENGINE / "core" / "layout.py"} <= {*listed}


def modules_imported(path: Path) -> set[str]:
    """Return the modules of the engine that a file may import; `from a import b` may mean the module a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.startswith("engine.")}


def module_file(name: str) -> Path | None:
    """Return the file of a module of the engine; None for a package without code and for a name inside a module."""
    module = ROOT.joinpath(*name.split("."))
    files = [path for path in (module.with_suffix(".py"), module / "__init__.py") if path.is_file()]
    return files[0] if files and is_code(files[0]) else None


def is_code(path: Path) -> bool:
    """Return whether a file holds more than its docstring."""
    return len(ast.parse(path.read_text(encoding="utf-8")).body) > 1


def hashes(engine: Path) -> dict[str, str]:
    """Return what is in the identity of cells, and what C sources the core was built from."""
    return {"results": engine_fingerprint(engine), "core": core_digest(engine)}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the packages and of what is shipped with them."""
    for folder in ("engine", "sweep", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    return tmp_path


@pytest.mark.parametrize(
    ("edited", "changed"),
    [
        ("configs/policies/kvm-6.1.yaml", ()),
        ("configs/policies/a-new-one.yaml", ()),
        ("engine/reference/mmu.py", ()),
        ("engine/sources.py", ()),
        ("sweep/recordings/perf/text.py", ()),
        ("engine/workloads/kernbench.py", ("results",)),
        ("engine/core/machine.py", ("results",)),
        ("engine/vocabulary.py", ("results", "core")),
        ("engine/core/lanes/writes.h", ("results", "core")),
        ("engine/core/guest/mappings/faults.c", ("results", "core")),
        ("engine/workloads/data/kernbench-templates.npz", ("results",)),
    ],
)
def test_an_edit_changes_what_it_can_change(edited: str, changed: tuple[str, ...], checkout: Path) -> None:
    """Identities follow code and data that make results, the core its own sources; other files change nothing."""
    engine = checkout / "engine"
    before = hashes(engine)

    with (checkout / edited).open("a", encoding="utf-8") as file:
        file.write("# a word\n")

    after = hashes(engine)
    assert tuple(name for name in before if before[name] != after[name]) == changed


def test_a_core_of_other_sources_is_refused(checkout: Path) -> None:
    """A core that was built before its sources were edited gives no answer: the error says how to build it anew."""
    shutil.copy(BUILT, checkout / "engine" / BUILT.name)
    before = load_core(checkout)

    with (checkout / "engine" / "core" / "lanes" / "writes.h").open("a", encoding="utf-8") as file:
        file.write("/* a word */\n")

    assert before.returncode == 0, before.stderr
    after = load_core(checkout)
    assert after.returncode == 1
    assert "the core of the engine was built from other sources: run `make setup`" in after.stderr


def test_a_declaration_in_python_makes_a_core_stale(checkout: Path) -> None:
    """What C takes from Python counts as its source: a counter more is another core."""
    shutil.copy(BUILT, checkout / "engine" / BUILT.name)
    vocabulary = checkout / "engine" / "vocabulary.py"
    text = vocabulary.read_text(encoding="utf-8")
    vocabulary.write_text(text.replace("LANES_MAX: Final = 64", "LANES_MAX: Final = 63"), encoding="utf-8")

    assert "was built from other sources" in load_core(checkout).stderr


def test_a_checkout_without_a_core_says_so(checkout: Path) -> None:
    """Where the extension is missing, the error says how to build it."""
    answer = load_core(checkout)

    assert answer.returncode == 1
    assert "the core of the engine was not built" in answer.stderr
    assert "run `make setup`" in answer.stderr


def load_core(checkout: Path) -> subprocess.CompletedProcess[str]:
    """Load the core of a checkout in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", "import engine.core.extension"]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
