"""What is tracked in this checkout, and what its sources import."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Final

from tests.support.project import ROOT

PACKAGES: Final = ("engine", "results", "sweep")


@cache
def files() -> tuple[str, ...]:
    """List what is tracked or would be, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(sorted(name for name in listed.split("\0") if name and (ROOT / name).is_file()))


def sources(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> list[str]:
    """List the files below some folders, those in Python unless other suffixes are given."""
    return [name for name in files() if name.endswith(suffixes) and name.split("/")[0] in folders]


@cache
def tree(name: str) -> ast.Module:
    """Parse one source."""
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), filename=name)


def functions(name: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function of one source."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imports(name: str) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of everything that one source imports."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: import by full name, not relative to this file"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


@cache
def modules() -> dict[str, str]:
    """Map the dotted name of each of our modules to its file."""
    return {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name for name in sources(*PACKAGES)}


@cache
def arrows(name: str) -> frozenset[str]:
    """Return the files of our packages that one source imports, wherever in it the import stands."""
    found = set()
    for _, imported in imports(name):
        module = imported
        while module and module not in modules():
            module = module.rpartition(".")[0]
        if module:
            found.add(modules()[module])
    return frozenset(found - {name})


def circles() -> set[frozenset[str]]:
    """Return the sets of files each of which reaches the others by imports and is reached by them."""
    reached = {name: _reached_from(name) for name in modules().values()}
    return {
        frozenset(circle)
        for name, below in reached.items()
        if len(circle := {other for other in below if name in reached[other]}) > 1
    }


def _reached_from(name: str) -> set[str]:
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        for other in arrows(waiting.pop()):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen
