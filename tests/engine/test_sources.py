"""The lists of sources behind identities and compiled kernels are whole, and name nothing that is not there."""

import ast
import shutil
from pathlib import Path
from typing import Final

import pytest

from engine.sources import (
    ENGINE,
    KERNEL_SOURCES,
    NO_RESULT_SOURCES,
    RESULT_SOURCES,
    source_digest,
    source_files,
)
from sweep.plan.cell import engine_fingerprint

ROOT: Final = ENGINE.parent


def imported(path: Path) -> set[Path]:
    """Return the modules of the engine that one of its modules imports when it is loaded."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ImportFrom):
            continue
        names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        modules = [ROOT / f"{name.replace('.', '/')}.py" for name in names if name.startswith("engine")]
        found |= {module for module in modules if module.is_file()}
    return found


def test_each_file_of_the_engine_is_in_one_list() -> None:
    """A file makes results or does not, and whoever adds one says which."""
    files = {path for path in ENGINE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    makes, does_not = set(source_files(RESULT_SOURCES)), set(source_files(NO_RESULT_SOURCES))

    assert makes | does_not == files
    assert not makes & does_not


def test_each_pattern_names_something() -> None:
    """No list holds a name of what is gone."""
    patterns = {*RESULT_SOURCES, *NO_RESULT_SOURCES, *KERNEL_SOURCES}

    assert [pattern for pattern in patterns if not source_files([pattern])] == []


def test_kernels_take_nothing_from_elsewhere() -> None:
    """What a module with kernels imports, directly or not, is among the sources that kernels are compiled from."""
    listed = set(source_files(KERNEL_SOURCES))
    holding = {
        path
        for path in ENGINE.rglob("*.py")
        if path.name not in {"jit.py", "warm.py"} and "from engine.jit import" in path.read_text(encoding="utf-8")
    }
    reached, left = set(), set(holding)
    while left:
        module = left.pop()
        reached.add(module)
        left |= imported(module) - reached

    # jit.py takes from sources.py the name of the cache's folder, which is no code of a kernel.
    assert reached - listed == {ENGINE / "sources.py"}
    assert len(holding) > 30


def hashes(engine: Path) -> dict[str, str]:
    """Return what is in the identity of cells, and in the name of the folder of compiled kernels."""
    return {"results": engine_fingerprint(engine), "kernels": source_digest(KERNEL_SOURCES, engine)}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the packages and of what is shipped with them."""
    for folder in ("engine", "sweep", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize(
    ("edited", "changed"),
    [
        ("configs/policies/kvm-6.1.yaml", ()),
        ("configs/policies/a-new-one.yaml", ()),
        ("engine/reference/mmu.py", ()),
        ("engine/warm.py", ()),
        ("sweep/recordings/perf/text.py", ()),
        ("engine/workloads/kernbench.py", ("results",)),
        ("engine/jit.py", ("kernels",)),
        ("engine/lanes/writes.py", ("results", "kernels")),
        ("engine/guest/faults.py", ("results", "kernels")),
        ("engine/workloads/data/kernbench-templates.npz", ("results",)),
    ],
)
def test_an_edit_changes_what_it_can_change(edited: str, changed: tuple[str, ...], checkout: Path) -> None:
    """Identities follow code and data that make results, compiled kernels what they come from; other files nothing."""
    engine = checkout / "engine"
    before = hashes(engine)

    with (checkout / edited).open("a", encoding="utf-8") as file:
        file.write("# a word\n")

    after = hashes(engine)
    assert tuple(name for name in before if before[name] != after[name]) == changed
