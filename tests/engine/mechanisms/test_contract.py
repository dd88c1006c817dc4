"""Mechanisms keep their contract: two halves with the same hooks, names of their own, and a folder that is all."""

import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Final

import pytest

from engine.fields import fields_of
from engine.knobs import KNOBS, Knobs
from engine.mechanisms import MECHANISMS
from engine.mechanisms.contract import HOOKS, Mechanism
from engine.reference.hooks import Hooks
from engine.sources import ENGINE
from engine.vocabulary import COUNTER_NAMES
from tests.support.project import ROOT

FOLDER: Final = ENGINE / "mechanisms"
EACH: Final = pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda one: one.folder())
LANES_ONLY: Final = {hook.name for hook in HOOKS if hook.lanes_only}

DECLARATION: Final = '''"""Zap whatever is stored to."""

from dataclasses import dataclass
from typing import ClassVar

from engine.fields import Counter, declared
from engine.mechanisms.contract import Mechanism


@dataclass(frozen=True, kw_only=True)
class Eager(Mechanism):
    """Whether to."""

    eager: int = declared(0, "zap after so many stores; 0 never", minimum=0, maximum=9)
    counters: ClassVar[tuple[Counter, ...]] = (Counter("eager_zaps", "1", "pages zapped", "a test", since=9),)
    hooks: ClassVar[tuple[str, ...]] = ("gives_up", "watches")
'''
PLAIN: Final = '''"""Zap whatever is stored to, plainly."""

from engine.reference.mechanism import PlainMechanism


class Plain(PlainMechanism):
    """Zaps."""

    reason = "eager"

    def gives_up(self, page, written):
        """Zap."""
        if self.knobs.eager:
            self.mmu.count("eager_zaps")
        return bool(self.knobs.eager)
'''
LANES: Final = """#pragma once
#include "lanes/pte_write.h"

INLINE bool eager_is_used(const struct knobs *knobs)
{
	return knobs->eager > 0;
}

INLINE lanes_t eager_gives_up(struct machine *m, int32_t slot, const struct written *written, lanes_t lanes)
{
	(void)slot, (void)written;
	count(m, COUNTER_EAGER_ZAPS, lanes & m->knobs.eager.eager_not_0);
	return lanes;
}

INLINE lanes_t eager_watches(struct machine *m, const struct iterations *next, lanes_t lanes)
{
	(void)m;
	return lanes & next->shadowed;
}
"""
USE: Final = """
import numpy as np
from engine.core.layout import header_file
from engine.core.mechanisms import headers
from engine.guests import Guest
from engine.knobs import Knobs, Policy
from engine.reference.machine import ReferenceMmu
from engine.vocabulary import COUNTER_NAMES, Event
from pathlib import Path
from results.store.columns import TABLES
from results.store.schema import SCHEMA_VERSION
from tests.support.engine import tiny
from tests.support.engine.tiny import Trace, gpa

guest = Guest(vcpus=1, memory_mib=4)
machine = ReferenceMmu(Policy(name="eager", summary="", source="", knobs=Knobs(eager=1)), guest)
trace = Trace()
trace.kernel(pages=guest.pages)
trace.root(24)
trace.add(Event.CR3, value=gpa(24))
trace.touch(tiny.direct(24))
trace.store(gpa(24), 0)
machine.feed(trace.events())
print(dict(zip(COUNTER_NAMES, machine.counters().tolist()))["eager_zaps"])
print(SCHEMA_VERSION, TABLES["cells"][-1].name)
for name, text in {**headers(), "layout.h": header_file()}.items():
    Path("headers", name).write_text(text, encoding="utf-8")
Path("headers", "all.c").write_text('#include "lanes/lanes.c"', encoding="utf-8")
"""


def of_lanes(mechanism: type[Mechanism]) -> set[str]:
    """Return the hooks that the lane half of a mechanism defines."""
    text = (FOLDER / mechanism.folder() / "lanes.h").read_text(encoding="utf-8")
    names = set(re.findall(rf"^(?:static|INLINE) \w+ {mechanism.folder()}_(\w+)\(", text, flags=re.MULTILINE))
    return names & {hook.name for hook in HOOKS}


@EACH
def test_both_halves_fill_the_hooks_that_are_declared(mechanism: type[Mechanism]) -> None:
    """A rule acts at the same places plainly and in lanes, and says at which; only fast paths ask lanes alone."""
    plain = import_module(f"{mechanism.__module__}.plain").Plain
    overridden = {hook.name for hook in HOOKS if hook.name in vars(plain)}

    assert of_lanes(mechanism) == set(mechanism.hooks)
    assert overridden == set(mechanism.hooks) - LANES_ONLY


def test_the_reference_has_all_hooks() -> None:
    """What the contract lists can be overridden, apart from what only lanes are asked."""
    methods = {name for name in vars(Hooks) if not name.startswith("_")} - {"reason"}

    assert methods == {hook.name for hook in HOOKS} - LANES_ONLY


def test_each_folder_is_in_the_list() -> None:
    """A mechanism that is written is one that a policy can have."""
    folders = {path.parent.name for path in FOLDER.glob("*/__init__.py")}

    assert {one.folder() for one in MECHANISMS} == folders


def test_no_mechanism_takes_the_names_of_another() -> None:
    """Knobs and counters are names of one mechanism, or of the machine."""
    knobs = [name for one in MECHANISMS for name in fields_of(one)]
    counters = [counter.name for one in MECHANISMS for counter in one.counters]

    assert len(set(knobs)) == len(knobs)
    assert len(set(counters)) == len(counters)
    assert not set(knobs) & set(vars(Knobs)["__annotations__"])
    assert set(knobs) < set(KNOBS)
    assert set(counters) < set(COUNTER_NAMES)


def test_a_mechanism_is_a_folder_and_a_line(tmp_path: Path) -> None:
    """With its folder and its line in the list, a mechanism has knobs, counters, columns, and both machines call it."""
    for package in ("engine", "results", "sweep", "configs", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.so", "data")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    folder = tmp_path / "engine" / "mechanisms" / "eager"
    folder.mkdir()
    (tmp_path / "headers").mkdir()
    for name, text in {"__init__.py": DECLARATION, "plain.py": PLAIN, "lanes.h": LANES}.items():
        (folder / name).write_text(text, encoding="utf-8")
    registry = folder.parent / "__init__.py"
    listed = registry.read_text(encoding="utf-8").replace("    Misaligned,\n", "    Eager,\n    Misaligned,\n")
    registry.write_text(
        listed.replace("\n\n\n@", "\nfrom engine.mechanisms.eager import Eager\n\n\n@"), encoding="utf-8"
    )

    command = [sys.executable, "-c", USE]
    used = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )

    assert used.stdout == "1\n9 eager_zaps\n", used.stderr
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no compiler here")
    parts = [f"-I{tmp_path / part}" for part in ("headers", "engine/core", "engine")]
    options = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-fsyntax-only", "-DLANES_NAME=lanes"]
    compiled = subprocess.run(
        [compiler, *options, *parts, str(tmp_path / "headers" / "all.c")], capture_output=True, text=True, check=False
    )
    assert compiled.stderr == ""
    assert "eager_gives_up(m, slot, written, asked)" in (tmp_path / "headers" / "mechanism_hooks.h").read_text()
