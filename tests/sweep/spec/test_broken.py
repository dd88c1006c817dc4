"""Broken specifications and the exact message of each; `python -m tests.sweep.spec.test_broken` writes them anew."""

import shutil
import tempfile
from pathlib import Path

import pytest

from engine.knobs import KNOBS
from sweep import cli
from sweep.commands import common
from sweep.spec import configs as spec_costs
from sweep.spec import sections as spec_sections
from sweep.spec.problems import SpecError
from sweep.spec.read import load_spec
from tests.support.fakes import KNOB_NAMES, POLICY_NAMES, WORKLOADS
from tests.support.project import ROOT

FOLDER = Path("tests/data/broken-specs")
NAMES = sorted(path.stem for path in (ROOT / FOLDER).glob("*.yaml"))


def message(name: str) -> str:
    """Return what is said about a broken file; the working directory must be the project."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        # Fixed lists of what is allowed: a new policy or knob is no reason to touch these expectations.
        shutil.copytree(ROOT / "configs", folder, dirs_exist_ok=True)
        for path in (Path(folder) / "policies").iterdir():
            if path.stem not in POLICY_NAMES:
                path.unlink()
        patch.setattr(spec_costs, "CONFIGS", Path(folder))
        patch.setattr(spec_sections, "KNOBS", {key: KNOBS[key] for key in KNOB_NAMES})
        with pytest.raises(SpecError) as caught:
            load_spec(FOLDER / f"{name}.yaml", workloads=WORKLOADS)
    return f"{caught.value}\n"


@pytest.mark.parametrize("name", NAMES)
def test_broken_specs_say_everything_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken file gives all its errors, each with place, line, caret and what is allowed, and nothing else."""
    monkeypatch.chdir(ROOT)

    found = message(name)

    assert (ROOT / FOLDER / f"{name}.expected").read_text(encoding="utf-8") == found


def test_there_are_ten() -> None:
    """At least ten kinds of broken files are covered, and no expectation is left without its file."""
    expected = sorted(path.stem for path in (ROOT / FOLDER).glob("*.expected"))

    assert len(NAMES) >= 10
    assert expected == NAMES


@pytest.mark.parametrize("verb", ["run", "plan"])
def test_a_broken_spec_starts_nothing(
    verb: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A broken file ends the program with code 2 and a message on stderr, and leaves no folder."""
    broken = ROOT / FOLDER / "unknown-key.yaml"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(common, "workload_registry", lambda: WORKLOADS)
    monkeypatch.setattr("sys.argv", ["sweep", verb, str(broken)])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert "did you mean 'replicates'?" in err
    assert (out, list(tmp_path.iterdir())) == ("", [])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "guests.vcpu=[1,2]",
            (
                "-s guests.vcpu=[1,2]: guests: unknown key 'vcpu'\n"
                "   | guests.vcpu=[1,2]\n"
                "   |        ^^^^\n"
                "  did you mean 'vcpus'?\n"
                "  allowed: clear_instruction, memory_mib, page_cache_share, vcpus, write_protect_instruction"
            ),
        ),
        (
            "replicates",
            (
                "-s replicates: 'replicates' is no override\n"
                "   | replicates\n"
                "   | ^^^^^^^^^^\n"
                "  write path=value, as in -s guests.vcpus=[1,2,4]"
            ),
        ),
        (
            "workloads.kernbench.units=0",
            (
                "-s workloads.kernbench.units=0: "
                "workload kernbench: units: expected a whole number from 1 to 10000, found 0\n"
                "   | workloads.kernbench.units=0\n"
                "   |                           ^"
            ),
        ),
        (
            "workloads.kernbunch.units=1",
            (
                "-s workloads.kernbunch.units=1: no entry 'kernbunch'\n"
                "   | workloads.kernbunch.units=1\n"
                "   |           ^^^^^^^^^\n"
                "  did you mean 'kernbench'?\n"
                "  allowed: kernbench, 0 to 0"
            ),
        ),
        (
            "seed=[1",
            "-s seed=[1: not YAML: expected ',' or ']', but got '<stream end>'\n   | seed=[1\n   |        ^",
        ),
        (
            "seed.x=1",
            "-s seed.x=1: 'x': there are no keys below 5\n   | seed.x=1\n   |      ^",
        ),
    ],
)
def test_overrides_are_pointed_into(override: str, expected: str, tmp_path: Path) -> None:
    """An error in an override shows the argument as it was typed, with a caret under what is wrong."""
    path = tmp_path / "spec.yaml"
    path.write_text("workloads: [kernbench]\npolicies: [kvm-3.0]\nseed: 5\n", encoding="utf-8")

    with pytest.raises(SpecError) as caught:
        load_spec(path, [override], workloads=WORKLOADS)

    assert expected == str(caught.value)


def test_an_alias_in_itself_is_refused(tmp_path: Path) -> None:
    """A YAML alias that contains itself is an error at its place, not an endless loop."""
    path = tmp_path / "spec.yaml"
    path.write_text("workloads: &w [*w]\npolicies: [kvm-3.0]\n", encoding="utf-8")

    with pytest.raises(SpecError, match=r"spec.yaml:1:12: this alias contains itself"):
        load_spec(path, workloads=WORKLOADS)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is an error of one line with its path."""
    path = tmp_path / "nothing.yaml"

    with pytest.raises(SpecError) as caught:
        load_spec(path, workloads=WORKLOADS)

    assert str(caught.value) == f"{path}: can't read the file: No such file or directory"


if __name__ == "__main__":
    for stem in NAMES:
        (FOLDER / f"{stem}.expected").write_text(message(stem), encoding="utf-8")
