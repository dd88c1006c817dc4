"""What deploy/ holds: fresh examples, and an image from the lock alone that has all that a sweep needs and no more."""

import re
import shlex
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deploy.runtime_lock import name_of, needed_entries
from tests.support.cluster.files import ROOT, submit

DEPLOY = ROOT / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(
        r"^```text\n(.*?)^```", (DEPLOY / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    for line in block.splitlines()
]


@pytest.mark.parametrize("command", COMMANDS, ids=["kuberay", "slurm"])
def test_examples_are_what_their_command_writes(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An example is what the command in the README writes; if not: run that command."""
    _, verb, *words = shlex.split(command)
    (place,) = [word for word in words if word.startswith("deploy/")]
    monkeypatch.chdir(ROOT)

    submit(*[str(tmp_path / Path(place).name) if word == place else word for word in words])

    assert verb == "submit"
    assert (tmp_path / Path(place).name).read_text(encoding="utf-8") == (ROOT / place).read_text(encoding="utf-8")


def test_every_file_is_explained() -> None:
    """The README names each file of the folder."""
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in DEPLOY.iterdir() if path.is_file()}

    assert {name for name in names if f"]({name})" not in text} == {"README.md"}


def test_the_image_has_all_that_a_sweep_needs() -> None:
    """Whatever the project's dependencies need by their own words is in the image's lock; developers' tools are not."""
    entries = needed_entries(
        (ROOT / "requirements.lock").read_text(encoding="utf-8"), (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    )
    locked = {name_of(text) for text in entries}
    needed: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in distribution("shadowsweep").requires or () if "extra ==" not in text]
    while waiting:
        requirement = waiting.pop()
        for extra in requirement.extras or {""}:
            if (key := (name_of(requirement.name), extra)) in needed:
                continue
            needed.add(key)
            waiting += [
                found
                for text in distribution(requirement.name).requires or ()
                if (found := Requirement(text)).marker is None or found.marker.evaluate({"extra": extra})
            ]

    assert {name for name, _ in needed} - locked == set()
    assert locked & {"mypy", "pytest", "hypothesis", "playwright", "moto", "pandas", "ruff"} == set()
    assert [text for text in entries if "--hash=sha256:" not in text] == []
    assert "setuptools" in locked


def test_the_image_is_checked_and_has_no_root() -> None:
    """Packages are installed by hash only, nothing names a registry, and the last user is the one of the manifests."""
    installs = re.findall(r"pip install (.*)", CONTAINERFILE)
    base_images = re.findall(r"^FROM (\S+)", CONTAINERFILE, flags=re.MULTILINE)

    assert [words for words in installs if "--no-deps" not in words] == []
    assert [words for words in installs if "--require-hashes" not in words and not words.endswith(" .")] == []
    assert [name for name in base_images if "/" in name] == []
    assert "://" not in CONTAINERFILE
    assert re.findall(r"^USER (\S+)", CONTAINERFILE, flags=re.MULTILINE) == ["1000"]
    manifest = (DEPLOY / "rayjob.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"runAsUser: (\d+)", manifest)) == {"1000"}


def test_the_image_gets_what_it_copies() -> None:
    """Everything that the Containerfile copies, and every package of the project, is let in; nothing else is."""
    lines = (DEPLOY / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        word
        for words in re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, flags=re.MULTILINE)
        for word in words.split()
    }

    assert "*" in lines
    assert copied - {"."} <= allowed
    assert {"configs", "engine", "results", "sweep"} <= allowed
    assert [name for name in allowed if not (ROOT / name).exists()] == []
    assert sys.version_info[:2] >= tuple(map(int, re.findall(r"python:(\d+)\.(\d+)", CONTAINERFILE)[0]))
