"""The house rules as tests: arrows, rooms, sizes, words, registries. CONTRIBUTING.md says why each rule is there."""

import ast
import importlib
import itertools
import re
import sys
from collections import Counter
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from engine.vocabulary import COUNTER_NAMES
from engine.workloads import WORKLOADS
from tests.support.policies import POLICIES
from tests.support.project import ROOT
from tests.support.rooms import BACK, CIRCLES, CROWDED, FAMILIES, ORDER, WITHOUT_TESTS
from tests.support.sources import PACKAGES, arrows, circles, files, functions, imports, sources, tree

FILE_LINES_MAX: Final = 500
FUNCTION_LINES_MAX: Final = 60
FOLDER_FILES_MAX: Final = 20
FILE_BYTES_MAX: Final = 10 * 1024 * 1024

LONG_FILES: Final[MappingProxyType[str, str]] = MappingProxyType(
    {"tests/sweep/commands/test_answers.py": "four verbs answer over the same runs, which are dear to make"},
)
"""Path -> why this file may be longer than the limit."""

LONG_FUNCTIONS: Final[MappingProxyType[str, str]] = MappingProxyType({})
"""path:function -> why this function may be longer than the limit."""

THIRD_PARTIES: Final = MappingProxyType(
    {
        "engine": {"numpy"},
        "results": {"altair", "numpy", "obstore", "plotext", "polars", "pyarrow", "vl_convert"},
        "sweep": {
            "altair",
            "jinja2",
            "libcachesim",
            "numpy",
            "obstore",
            "polars",
            "pyarrow",
            "ray",
            "rich",
            "ruamel",
            "typer",
            "vl_convert",
            "zstandard",
        },
    },
)
OURS: Final = MappingProxyType(
    {
        "engine": {"engine"},
        "results": {"results", "engine.guests", "engine.vocabulary"},
        "sweep": {"engine", "results", "sweep"},
    },
)

# Built up from parts, so that this file does not hold what it forbids.
BANNED: Final = (
    ".." + "/shared",
    "/wor" + "k/",
    "pypi" + ".org",
    "python" + "hosted",
    "registry.npm" + "js",
    "deb.deb" + "ian.org",
    "TO" + "DO",
    "FIX" + "ME",
    "XX" + "X",
)
TEXT_SUFFIXES: Final = {
    ".c",
    ".h",
    ".in",
    ".json",
    ".lock",
    ".md",
    ".py",
    ".pyi",
    ".sh",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
}


def matches(imported: str, allowed: set[str]) -> bool:
    """Tell whether a dotted name is one of the allowed packages or lies below one."""
    return any(imported == one or imported.startswith(f"{one}.") for one in allowed)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_arrows(package: str) -> None:
    """Engine knows nothing of ours, results only the engine's declarations, sweep all; each has its third parties."""
    allowed = OURS[package] | THIRD_PARTIES[package] | set(sys.stdlib_module_names)

    wrong = [
        f"{name}:{line}: imports {imported}"
        for name in sources(package)
        for line, imported in imports(name)
        if not matches(imported, allowed)
    ]

    assert wrong == []


def test_two_folders_know_the_cluster() -> None:
    """Only the ray backend and sweep/cluster/ import ray."""
    knowing = {name for name in sources("sweep") for _, one in imports(name) if matches(one, {"ray"})}

    assert knowing
    assert [name for name in knowing if not name.startswith(("sweep/backends/ray/", "sweep/cluster/"))] == []


def test_nothing_stands_on_a_verb() -> None:
    """Verbs call the rest of sweep/; of the rest only the command line knows them, and it imports none by name."""
    verbs = "sweep/commands/"
    knowing = {name for name in sources("sweep") for _, one in imports(name) if matches(one, {"sweep.commands"})}

    assert knowing
    assert [name for name in knowing if not name.startswith(verbs)] == []


def test_yaml_is_read_in_one_place() -> None:
    """Only sweep/spec/ imports a YAML library."""
    readers = {name for name in sources(*PACKAGES) for _, one in imports(name) if matches(one, {"ruamel", "yaml"})}

    assert readers
    assert [name for name in readers if not name.startswith("sweep/spec/")] == []


def test_the_reference_stands_alone() -> None:
    """Neither the reference nor a plain half of a mechanism imports anything of the core, which they specify."""
    reference = [name for name in sources("engine") if room(name) == "reference"]
    imported = {one for name in reference for _, one in imports(name)}

    assert imported
    assert any(name.startswith("engine/mechanisms/") for name in reference)
    assert [one for one in imported if matches(one, {"engine.core", "engine._core"})] == []


def test_the_core_is_asked_for_in_one_place() -> None:
    """Only engine/core/extension.py imports the extension: it looks first whether that was built from these sources."""
    askers = {
        name for name in sources(*PACKAGES, "tests", "benchmarks") for _, one in imports(name) if one == "engine._core"
    }

    assert askers == {"engine/core/extension.py"}


def test_functions_of_the_core_fit_a_screen() -> None:
    """A function in C has at most 60 lines, and a file of C at most 500."""
    lengths, functions_too_long = {}, []
    for name in (name for name in files() if name.startswith("engine/") and name.endswith((".c", ".h"))):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        lengths[name] = len(lines)
        start = 0
        for number, line in enumerate(lines, 1):
            if line == "{":
                start = number
            elif line == "}" and number - start > FUNCTION_LINES_MAX:
                functions_too_long.append(f"{name}:{start}: {number - start}")

    assert len(lengths) > 50
    assert {name: n for name, n in lengths.items() if n > FILE_LINES_MAX} == {}
    assert functions_too_long == []


def room(name: str) -> str:
    """Return the room of a file: its folder in the package, or the file itself where it lies flat.

    The plain half of a mechanism stands where it is called: in the room of the reference.
    """
    if name.startswith("engine/mechanisms/") and name.endswith("/plain.py"):
        return "reference"
    return name.split("/")[1].removesuffix(".py")


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_import_downwards(package: str) -> None:
    """A room imports only rooms that stand below it; what points back is an exception with a reason."""
    place = {one: number for number, group in enumerate(ORDER[package]) for one in group}
    back = set()
    for name in sources(package):
        for other in arrows(name):
            if room(name) == "__init__" or not other.startswith(f"{package}/") or room(name) == room(other):
                continue
            if room(other) != "__init__" and place[room(other)] >= place[room(name)]:
                back.add(f"{name} -> {other}")

    assert sorted(set(place) - {room(name) for name in sources(package)}) == []
    assert sorted(back) == sorted(arrow for arrow in BACK if arrow.startswith(f"{package}/"))


def test_imports_make_no_circles() -> None:
    """No file reaches itself by imports, not even by those inside functions; what does has a reason."""
    assert circles() == set(CIRCLES)


def test_files_are_short() -> None:
    """A file has one reason to be opened, hence at most 500 lines."""
    found = sources(*PACKAGES, "tests", "benchmarks", "docs")
    lengths = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in found}

    assert {name for name, lines in lengths.items() if lines > FILE_LINES_MAX} == set(LONG_FILES)


def test_folders_are_small() -> None:
    """What is found in a folder is seen at once: at most 20 files in Python or C beside `__init__`."""
    found = sources(*PACKAGES, "tests", suffixes=(".py", ".c", ".h"))
    held = Counter(str(Path(name).parent) for name in found if Path(name).name != "__init__.py")

    assert {folder for folder, count in held.items() if count > FOLDER_FILES_MAX} == set(CROWDED)


def test_folders_of_the_guest_model_stand_on_each_other() -> None:
    """A folder of engine/core/guest/ includes headers of earlier ones only: frames know no tables, tables no areas."""
    order = ("frames", "tables", "mappings", "processes")
    included = {
        (Path(name).parent.name, folder)
        for name in sources("engine", suffixes=(".c", ".h"))
        if name.startswith("engine/core/guest/") and Path(name).parent.name in order
        for folder in re.findall(r'#include "guest/(\w+)/', (ROOT / name).read_text(encoding="utf-8"))
    }

    assert included
    assert [(here, there) for here, there in included if order.index(there) >= order.index(here)] == []


def test_a_family_of_files_is_a_folder() -> None:
    """No prefix is shared by three files of a folder, and no file's name is the prefix of two others."""
    families = set()
    for folder in {Path(name).parent for name in sources(*PACKAGES, "tests")}:
        stems = {
            Path(name).stem.removeprefix("test_") for name in sources(*PACKAGES, "tests") if folder == Path(name).parent
        }
        prefixes = {stem[:at] for stem in stems for at, letter in enumerate(stem) if letter == "_" and at}
        for prefix in prefixes:
            members = [stem for stem in stems if stem.startswith(f"{prefix}_")]
            if len(members) >= 3 - (prefix in stems):
                families.add(f"{folder}/{prefix}")

    assert families == set(FAMILIES)


def test_tests_mirror_the_packages() -> None:
    """Each folder of tests of a package is one of that package; a folder of a package has tests or says where."""
    held = {package: {str(Path(name).parent) for name in sources(package)} for package in PACKAGES}
    folders = set().union(*held.values())
    tested = {str(Path(name).parent.relative_to("tests")) for name in sources("tests") if "/test_" in name}
    tested = {folder for folder in tested if folder.split("/")[0] in PACKAGES}
    rooms = {folder for folder in folders if folder.count("/") == 1}

    assert sorted(tested - folders) == []
    assert sorted(rooms - {"/".join(folder.split("/")[:2]) for folder in tested}) == sorted(WITHOUT_TESTS)


def test_helpers_of_tests_are_in_support() -> None:
    """What a test imports of tests/ lies in tests/support/, and no test is there."""
    wrong = [
        f"{name}:{line}: imports {imported}"
        for name in sources("tests")
        for line, imported in imports(name)
        if matches(imported, {"tests"}) and not matches(imported, {"tests.support"})
    ]

    assert wrong == []
    assert [name for name in sources("tests") if name.startswith("tests/support/") and "/test_" in name] == []


def test_functions_fit_a_screen() -> None:
    """A function has at most 60 lines beside its docstring."""
    too_long = {}
    for name in sources(*PACKAGES, "tests", "benchmarks", "docs"):
        for node in functions(name):
            first = node.body[0]
            has_docstring = ast.get_docstring(node, clean=False) is not None
            docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
            length = (node.end_lineno or 0) - node.lineno + 1 - docstring
            if length > FUNCTION_LINES_MAX:
                too_long[f"{name}:{node.name}"] = length

    assert {key: n for key, n in too_long.items() if key not in LONG_FUNCTIONS} == {}
    assert [key for key in LONG_FUNCTIONS if key not in too_long] == []


def test_functions_are_annotated() -> None:
    """Every parameter and every result has a type."""
    bare = []
    for name in sources(*PACKAGES, "tests", "benchmarks", "docs"):
        for node in functions(name):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            unknown = [a.arg for a in arguments if a.annotation is None and a.arg not in {"self", "cls"}]
            if unknown or node.returns is None:
                bare.append(f"{name}:{node.lineno}: {node.name}({', '.join(unknown)})")

    assert bare == []


def test_modules_hold_no_moving_state() -> None:
    """Module-level lists, dicts and sets are constants and say so; no function rebinds a global."""
    moving = []
    for name in sources(*PACKAGES):
        moving += [f"{name}:{n.lineno}: global" for n in ast.walk(tree(name)) if isinstance(n, ast.Global)]
        for node in tree(name).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.List | ast.Dict | ast.Set):
                targets = {target.id for target in node.targets if isinstance(target, ast.Name)}
                if targets != {"__all__"}:
                    moving.append(f"{name}:{node.lineno}: {', '.join(targets)} is not Final")

    assert moving == []


def test_policies_differ() -> None:
    """No two shipped policies have the same knobs, and each goes by the name of its file."""
    assert len({policy.knobs for policy in POLICIES.values()}) == len(POLICIES)
    assert sorted(POLICIES) == sorted(path.stem for path in (ROOT / "configs" / "policies").iterdir())


def test_each_workload_module_is_registered() -> None:
    """A module in engine/workloads that defines a workload is in the registry, under the name that it gives itself."""
    names = [Path(name).stem for name in sources("engine") if name.startswith("engine/workloads/")]
    modules = [importlib.import_module(f"engine.workloads.{name}") for name in names if name != "__init__"]
    defined = [module.WORKLOAD for module in modules if hasattr(module, "WORKLOAD")]

    assert sorted(workload.name for workload in defined) == sorted(WORKLOADS)
    assert [workload.name for workload in defined if WORKLOADS[workload.name] is not workload] == []


def test_counter_names_are_unique() -> None:
    """A column means one thing."""
    assert len(set(COUNTER_NAMES)) == len(COUNTER_NAMES)


def test_no_file_names_what_must_not_be_named() -> None:
    """No tracked text names a place of one machine, a package registry, or work that was put off."""
    found = []
    for name in files():
        path = ROOT / name
        if path.suffix not in TEXT_SUFFIXES and path.name not in {"Makefile", "run", ".gitignore"}:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found += [f"{name}:{number}: {word}" for word in BANNED if word in line]

    assert found == []


def test_files_are_small() -> None:
    """No file of the repository is larger than 10 MiB."""
    assert [name for name in files() if (ROOT / name).stat().st_size > FILE_BYTES_MAX] == []


def test_markdown_has_one_title() -> None:
    """Each Markdown file opens with its title and has no other."""
    wrong = []
    for name in files():
        if name.endswith(".md"):
            text = re.sub(
                r"^(```+|~~~+).*?^\1", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
            )
            titles = [line for line in text.splitlines() if line.startswith("# ")]
            if len(titles) != 1 or not text.startswith("# "):
                wrong.append(name)

    assert wrong == []


WRITTEN_BY_COMMANDS: Final = ("docs/reference/", "docs/explanation/validation.md")
"""Markdown that is generated; its sources are Python and templates."""
PROSE: Final = re.compile(r"\s*(?!\s|#|\||>|<|`{3}|~{3}|---|\[[^\]]+\]: )\S")
ENDS: Final = re.compile(r"[.!?:;](?:[)\"'”*`_]|\]\([^)]*\))*\s*$|  $")


def test_markdown_has_one_sentence_a_line() -> None:
    """No sentence of a page that people write goes on in the next line, so that a change of one is a change of one."""
    broken = []
    for name in files():
        if not name.endswith(".md") or name.startswith(WRITTEN_BY_COMMANDS):
            continue
        text = (ROOT / name).read_text(encoding="utf-8")
        # What commands have written into a page is theirs, and code is code.
        text = re.sub(r"<!-- result:begin.*?<!-- result:end -->", "", text, flags=re.DOTALL)
        text = re.sub(r"^\s*(```+|~~~+).*?^\s*\1", "", text, flags=re.MULTILINE | re.DOTALL)
        lines = text.splitlines()
        for before, after in itertools.pairwise(lines):
            begins = re.match(r"\s*(?:[-*+]|\d+\.)\s", after)
            if PROSE.match(before) and PROSE.match(after) and not begins and not ENDS.search(before):
                broken.append(f"{name}: {before.strip()[-60:]}")

    assert broken == []


def test_the_lock_names_no_registry() -> None:
    """The lock pins everything by hash and holds no address."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^[A-Za-z0-9._-]+==", lock, flags=re.MULTILINE)

    assert ":/" + "/" not in lock
    assert len(pins) > 50
    assert lock.count("--hash=sha256:") >= len(pins)
    assert "setuptools==" in lock
