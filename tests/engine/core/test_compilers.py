"""The core is built on a machine that has no compiler, and counts there what it counts here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.engine.core_builds import build, copied, counted
from tests.support.project import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_machine_without_a_compiler_builds_with_that_of_a_package(tmp_path: Path) -> None:
    """Where no compiler is found, the locked package `ziglang` builds the core, and its counts are the same."""
    packages = tmp_path / "packages"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--no-cache-dir"]
    lock = ["--target", str(packages), "-r", str(ROOT / "requirements-compiler.lock")]
    subprocess.run([*install, *lock], check=True, timeout=600)
    checkout = copied(tmp_path / "checkout")
    home = tmp_path / "home"
    home.mkdir()

    build(checkout, PATH=str(home), HOME=str(home), PYTHONPATH=os.pathsep.join([str(checkout), str(packages)]))

    _, compiler, digest = counted(checkout)
    _, usual, expected = counted(ROOT)
    assert (compiler, digest) == ("clang", expected)
    assert usual in {"clang", "gcc"}
