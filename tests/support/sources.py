"""What is tracked in this checkout, and what its sources import."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache

from tests.support.project import ROOT


@cache
def files() -> tuple[str, ...]:
    """List what is tracked or would be, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(sorted(name for name in listed.split("\0") if name and (ROOT / name).is_file()))


def sources(*folders: str) -> list[str]:
    """List the Python files below some folders."""
    return [name for name in files() if name.endswith(".py") and name.split("/")[0] in folders]


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
