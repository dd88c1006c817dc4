"""The documents are true: generated pages are fresh, links lead somewhere, and the commands that they show run."""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from docs.generate_reference import anchor, is_fresh, pages
from engine.workloads import WORKLOADS
from sweep.spec.problems import Source
from sweep.spec.read import read_spec
from tests.support.calling import call
from tests.support.project import ROOT
from tests.support.s3_server import s3_server
from tests.support.sources import files

HOW_TO: Final = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/how-to/*.md"))
FIRST: Final = ("README.md", "docs/tutorial/first-sweep.md")
"""What a newcomer reads first, in this order; a how-to page may build on the runs that it leaves."""
SHOWN: Final = (*FIRST, *HOW_TO)
"""Documents whose console blocks are run."""
PYTHON_TOO: Final = ("docs/how-to/use-an-object-store.md",)
"""Pages whose Python is run after their commands; tests/results/test_api.py runs that of the page on Python."""

NOT_RUN: Final = MappingProxyType(
    {
        "make": "sets up .venv, or runs what other tests and CI run",
        "export PATH=": "the test starts sweep by itself",
        "export RAY_ADDRESS=": "needs a cluster",
        "sweep doctor --address": "needs a cluster; tests/sweep/cluster has one",
        "sweep submit configs/kernbench.yaml --address": "needs a cluster; tests/sweep/cluster has one",
        "sweep status kernbench-1234": "needs a cluster; tests/sweep/cluster has one",
        "sweep logs kernbench-1234": "needs a cluster; tests/sweep/cluster has one",
        "sweep cancel kernbench-1234": "needs a cluster; tests/sweep/cluster has one",
        "sweep run configs/kernbench.yaml": "is `make kernbench`, minutes to hours long",
        "sweep trace record": "says what this machine lacks, so its exit code is the machine's",
    },
)
"""Start of a command -> why the test does not run it."""


def markdown() -> list[Path]:
    """List the documents."""
    top = [path for path in ROOT.glob("*.md") if not path.name.startswith(".")]
    return sorted([*top, *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("configs/**/*.md")])


def without_code(path: Path) -> str:
    """Return a document without its fenced blocks and inline code."""
    text = re.sub(r"^(```+).*?^\1", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", lambda match: match[0].replace("[", "(").replace("]", ")"), text)


def anchors(path: Path) -> set[str]:
    """Return the fragments that a document's headings give."""
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", without_code(path), flags=re.MULTILINE)}


def blocks(name: str, language: str) -> list[str]:
    """Return a document's fenced blocks of one language."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(name: str) -> list[str]:
    """Return the commands in a document's console blocks."""
    lines = "".join(blocks(name, "console")).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines if line.strip()]


@pytest.mark.parametrize("path", sorted(pages()))
def test_generated_pages_are_fresh(path: str) -> None:
    """A generated page says what its registry says; if not: make docs."""
    assert is_fresh(path, pages()[path])


@pytest.mark.parametrize("path", markdown(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(path: Path) -> None:
    """Each relative link leads to a file, and to a heading if it names one."""
    broken = []
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", without_code(path)):
        if "://" in target:
            continue
        name, _, fragment = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (fragment and fragment not in anchors(file)):
            broken.append(target)

    assert broken == []


def test_cited_pages_exist() -> None:
    """A page that code or a configuration refers to is there."""
    missing = set()
    for name in files():
        if name.startswith(("engine/", "results/", "sweep/", "configs/", "benchmarks/")) and name.endswith(
            (".py", ".yaml")
        ):
            cited = re.findall(r"docs/[\w/-]+\.md", (ROOT / name).read_text(encoding="utf-8"))
            missing |= {f"{name}: {page}" for page in cited if not (ROOT / page).exists()}

    assert missing == set()


def test_each_document_can_be_found() -> None:
    """Every page below docs is linked from the index, every decision from the list of decisions."""
    index = without_code(ROOT / "docs/README.md") + without_code(ROOT / "docs/adr/README.md")
    linked = {Path(target.partition("#")[0]).name for target in re.findall(r"\]\(([^)\s]+)\)", index)}

    assert [path.name for path in ROOT.glob("docs/**/*.md") if path.name not in linked] == []


@pytest.mark.parametrize("name", SHOWN)
def test_shown_commands_are_run_or_excused(name: str) -> None:
    """A console block holds what the next test runs, or what the list above says why not."""
    excused = tuple(NOT_RUN)

    assert [line for line in commands(name) if not line.startswith(("sweep ", *excused))] == []


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Return the folder of somebody who has typed all commands of README and tutorial, and what failed of them."""
    folder = tmp_path_factory.mktemp("newcomer")
    shutil.copytree(ROOT / "configs", folder / "configs")
    return folder, {line: error for name in FIRST for line, error in failures(name, folder).items()}


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    """Serve the bucket of the documents; give what the environment has to say about it."""
    with s3_server() as variables:
        yield variables


@pytest.mark.slow
@pytest.mark.timeout(2400)  # On a fresh machine the first command compiles the kernels.
def test_a_newcomer_gets_through(newcomer: tuple[Path, dict[str, str]]) -> None:
    """Who types all commands of the README and then of the tutorial sees none fail."""
    _, failed = newcomer

    assert failed == {}
    assert sum(len(commands(name)) for name in FIRST) > 10


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", HOW_TO)
def test_each_how_to_works(
    name: str, newcomer: tuple[Path, dict[str, str]], bucket: dict[str, str], tmp_path: Path
) -> None:
    """Who has done the tutorial can open any how-to page: of its commands, in order, none fails."""
    folder, _ = newcomer
    # Hard links: programs replace files and never write into one, so the next page finds the folder as it was.
    shutil.copytree(folder, tmp_path, copy_function=os.link, dirs_exist_ok=True)

    failed = failures(name, tmp_path, **bucket)

    assert failed == {}


def test_the_shown_sweep_is_valid() -> None:
    """The sweep of the how-to, with its later fragments laid over it, is a sweep."""
    sections: dict[str, str] = {}
    for block in blocks("docs/how-to/write-a-sweep.md", "yaml"):
        for section in re.split(r"^(?=\w)", block, flags=re.MULTILINE):
            sections[section.partition(":")[0]] = section
    source = Source(name="write-a-sweep.md", text="".join(sections.values()))

    spec = read_spec(source, workloads=WORKLOADS, folder=ROOT / "configs")

    assert len(spec.workloads) == 2
    assert (len(spec.guests), len(spec.policies)) == (3, 6)


def failures(name: str, folder: Path, **variables: str) -> dict[str, str]:
    """Write the files and run the commands that a document shows, in its order, and return what failed and how.

    Verbs run in this process, where large libraries are loaded once, and see one core: a worker takes long to start.
    """
    failed = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "120")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setattr(os, "sched_getaffinity", lambda _pid: {0})
        for variable, value in variables.items():
            patch.setenv(variable, value)
        for block in blocks(name, "yaml"):
            if place := re.match(r"# (configs/\S+\.yaml)\n", block):
                (folder / place[1]).write_text(block, encoding="utf-8")
        for line in commands(name):
            if not line.startswith(tuple(NOT_RUN)):
                out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                    code = call(patch, *shlex.split(line)[1:])
                if code:
                    failed[line] = f"exit code {code}\n{out.buffer.getvalue().decode()[-4000:]}"
        for block in blocks(name, "python") if name in PYTHON_TOO else ():
            done = subprocess.run([sys.executable, "-c", block], check=False, capture_output=True, text=True)
            if done.returncode:
                failed[block] = f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return failed
