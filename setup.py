"""Builds the extension `engine._core`; everything else about the package is in pyproject.toml.

Three variables of the environment change the build:

* `CC`: the compiler. Where there is none at all, that of the package `ziglang` is taken, if it is installed.
* `SHADOWSWEEP_SANITIZE=1`: address and undefined-behaviour sanitizers, for tests. Preload the compiler's `libasan.so`.
* `SHADOWSWEEP_CHECK=1`: the core runs the slow path beside each fast one and stops at the first difference, for tests.
"""

import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Final

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT: Final = Path(__file__).resolve().parent
CORE: Final = Path("engine", "core")
MECHANISMS: Final = Path("engine", "mechanisms")
PYTHON_3_11: Final = "0x030B0000"
# `&` of truth values, of which clang warns, is meant: one branch instead of several.
WARNINGS: Final = ("-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-Wno-bitwise-instead-of-logical")
OPTIONS: Final = ("-std=c11", "-O2", "-g0", "-fno-math-errno", *WARNINGS)
SANITIZERS: Final = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer")


LANES: Final = CORE / "lanes" / "lanes.c"
LANES_OPTIONS: Final = ("-O2",)
"""What is to be inlined and what is a vector is said in its sources: -O3 compiles longer and runs no faster."""
BASELINE: Final = "x86-64-v2"
LEVELS: Final = {
    "lanes_x86_64_v3_16": ("x86-64-v3", "skylake", 16),
    "lanes_x86_64_v4": ("x86-64-v4", "icelake-server", 64),
    "lanes_x86_64_v4_512": ("x86-64-v4", "icelake-server", 512),
}
"""Instruction sets beside the baseline for which the lane machine is compiled, a model of CPU with such a set whose
speeds the compiler is to assume, and the lanes of a word: name of the object -> these."""


def is_x86() -> bool:
    """Return whether this machine has the instruction sets of LEVELS in some of its models."""
    return platform.machine().lower() in {"amd64", "x86_64"}


def is_zig() -> bool:
    """Return whether the compiler is that of the package `ziglang`."""
    return "ziglang" in os.environ.get("CC", "")


def instruction_set(name: str) -> str:
    """Return what tells the compiler to use an instruction set; zig takes that of this machine unless it is told."""
    return f"-mcpu={name.replace('-', '_')}" if is_zig() else f"-march={name}"


def is_on(variable: str) -> bool:
    """Return whether a variable of the environment is set to something other than 0."""
    return os.environ.get(variable, "0") not in {"", "0"}


class BuildCore(build_ext):
    """Writes the headers that follow from declarations in Python before the extension is compiled."""

    def build_extension(self, ext: Extension) -> None:
        """Write the header, then compile."""
        sys.path.insert(0, str(ROOT))
        from engine.core.layout import header_file
        from engine.core.mechanisms import headers

        folder = Path(self.build_temp).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in {"layout.h": header_file(), **headers()}.items():
            (folder / name).write_text(text, encoding="utf-8")
        ext.include_dirs.append(str(folder))
        ext.extra_objects += [self._lanes(ext, "lanes_baseline", *([instruction_set(BASELINE)] if is_x86() else []))]
        if is_x86():
            ext.define_macros.append(("LANES_X86", "1"))
            for name, (level, model, lanes) in LEVELS.items():
                tuning = [] if is_zig() else [f"-mtune={model}"]  # zig's models have other names
                ext.extra_objects.append(self._lanes(ext, name, f"-DLANES={lanes}", instruction_set(level), *tuning))
        super().build_extension(ext)

    def _lanes(self, ext: Extension, name: str, *set_options: str) -> str:
        """Compile the lane machine for one instruction set and word; return the object file."""
        source = Path(self.build_temp, f"{name}.c")
        source.write_text('#include "lanes/lanes.c"\n', encoding="utf-8")
        (made,) = self.compiler.compile(
            [str(source)],
            output_dir=self.build_temp,
            macros=[("LANES_NAME", name)],
            include_dirs=ext.include_dirs,
            extra_postargs=[*ext.extra_compile_args, *LANES_OPTIONS, *set_options],
            depends=ext.depends,
        )
        return str(made)


def options() -> tuple[list[str], list[str]]:
    """Return what the compiler and the linker are told beyond the defaults of this Python."""
    # What no other library may replace is called directly, not through a table.
    compiling, linking = [*OPTIONS, "-fvisibility=hidden"], []
    if is_zig() and is_x86():
        compiling.append(instruction_set(BASELINE))
    if is_on("SHADOWSWEEP_SANITIZE"):
        compiling += SANITIZERS
        linking += SANITIZERS
    if is_on("SHADOWSWEEP_CHECK"):
        compiling.append("-DCHECK_FAST_PATHS")
    return compiling, linking


def find_compiler() -> None:
    """Take the compiler of the package `ziglang` if the machine has none."""
    if "CC" not in os.environ and not shutil.which("cc") and importlib.util.find_spec("ziglang"):
        os.environ["CC"] = f"{sys.executable} -m ziglang cc"
        os.environ["LDSHARED"] = f"{sys.executable} -m ziglang cc -shared"


find_compiler()
compiling, linking = options()
setup(
    ext_modules=[
        Extension(
            "engine._core",
            sources=sorted(str(path) for path in CORE.rglob("*.c") if path != LANES),
            depends=[
                "setup.py",
                *sorted(str(path) for path in CORE.rglob("*.[ch]")),
                *sorted(str(path) for path in MECHANISMS.rglob("*.h")),
                *map(str, Path("engine").rglob("*.py")),
            ],
            define_macros=[("Py_LIMITED_API", PYTHON_3_11)],
            include_dirs=[str(CORE), str(CORE.parent)],
            extra_compile_args=compiling,
            extra_link_args=linking,
            py_limited_api=True,
        ),
    ],
    cmdclass={"build_ext": BuildCore},
    # One wheel for Python 3.11 and all later ones.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
