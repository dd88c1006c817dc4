"""Calls the program as a user does: in this process, or as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweep import cli


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the program in this process and return its exit code."""
    monkeypatch.setattr("sys.argv", ["sweep", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def sweep(project: Path, *words: str, **environment: str) -> str:
    """Run the program from the root of the project, expect success, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "sweep.cli", *words],
        cwd=project,
        env={**os.environ, "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
