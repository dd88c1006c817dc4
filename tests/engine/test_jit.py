"""Compiled kernels are shared by all checkouts of the same sources, and by no other sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from engine.jit import kernel
from tests.support.project import ROOT

ENGINE: Final = ROOT / "engine"
CALLEE: Final = "from engine.jit import kernel\n\n\n@kernel\ndef double(x: int) -> int:\n    return x * 2\n"
CALLER: Final = (
    "from engine.lanes.callee import double\nfrom engine.jit import kernel\n\n\n"
    "@kernel\ndef quadruple(x: int) -> int:\n    return double(double(x))\n"
)
RUN: Final = "from engine.lanes.caller import quadruple as f; print(f(5), sum(f.stats.cache_hits.values()))"


def checkout(path: Path, *, callee: str = CALLEE) -> Path:
    """Make a checkout whose engine is two kernels in two files."""
    engine = path / "engine"
    kernels = engine / "lanes"
    kernels.mkdir(parents=True)
    for name in ("jit.py", "sources.py"):
        shutil.copy(ENGINE / name, engine)
    (engine / "__init__.py").touch()
    (kernels / "callee.py").write_text(callee, encoding="utf-8")
    (kernels / "caller.py").write_text(CALLER, encoding="utf-8")
    return path


def printed(path: Path, cache: Path, code: str) -> str:
    """Run code in a process of its own and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"PYTHONPATH": str(path), "XDG_CACHE_HOME": str(cache)}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=path, env=environment, check=True, capture_output=True, text=True
    )
    return ran.stdout


def answer_and_hits(path: Path, cache: Path) -> tuple[int, int]:
    """Run the caller in a process of its own; return what it yields and how much of it was loaded from the cache."""
    answer, hits = map(int, printed(path, cache, RUN).split())
    return answer, hits


def test_a_second_checkout_of_the_same_sources_loads(tmp_path: Path) -> None:
    """What one checkout compiled, another one in another place, made at another time, does not compile again."""
    first, second = checkout(tmp_path / "first"), checkout(tmp_path / "second")

    compiled = answer_and_hits(first, tmp_path / "cache")
    loaded = answer_and_hits(second, tmp_path / "cache")

    assert (compiled, loaded) == ((20, 0), (20, 1))


def test_an_edited_callee_compiles_its_caller_again(tmp_path: Path) -> None:
    """Code compiled for other sources is never loaded, even if the function's own file is the same."""
    before = checkout(tmp_path / "before")
    after = checkout(tmp_path / "after", callee=CALLEE.replace("x * 2", "x * 3"))

    old = answer_and_hits(before, tmp_path / "cache")
    new = answer_and_hits(after, tmp_path / "cache")

    assert (old, new) == ((20, 0), (45, 0))


def test_kernels_do_not_load_scipy(tmp_path: Path) -> None:
    """Numba looks for SciPy's linear algebra; a process that compiles or loads kernels spares that, and may load it."""
    load = "import sys, engine.lanes.caller as c; c.quadruple(5)"
    code = f"{load}; print('scipy.linalg' in sys.modules); import scipy.linalg"
    made = checkout(tmp_path / "made")

    assert [printed(made, tmp_path / "cache", code) for _ in range(2)] == ["False\n"] * 2


def test_numba_may_be_told_not_to_compile(tmp_path: Path) -> None:
    """With NUMBA_DISABLE_JIT, as debuggers and measurements of coverage need it, a kernel is the function itself."""
    switch = "import os; os.environ['NUMBA_DISABLE_JIT'] = '1'"
    code = f"{switch}; from engine.lanes.caller import quadruple as f; print(f(5), f)"

    assert printed(checkout(tmp_path / "made"), tmp_path / "cache", code).startswith("20 <function quadruple at ")


@kernel
def _half(x: int) -> int:
    return x >> 1


@kernel
def _halves(small: Any, word: np.uint64) -> tuple[int, int, int, np.uint64]:
    return _half(-7), _half(small[0]), _half(small[0] * 1000), _half(word)


def test_a_callee_is_compiled_once_for_all_constants_and_widths() -> None:
    """Constants and narrow numbers are passed as int64, with their values; what does not fit stays as it is."""
    word = np.uint64(2**64 - 1)

    found = _halves(np.array([-128], dtype=np.int8), word)

    assert found == (-4, -64, -64_000, 2**63 - 1)
    assert sorted(str(args[0]) for args in cast(Any, _half).signatures) == ["int64", "uint64"]
