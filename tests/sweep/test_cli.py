"""The command line as a user meets it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from engine.knobs import KNOBS
from engine.vocabulary import COUNTER_NAMES
from engine.workloads import WORKLOADS
from results.store.cell_ids import CellIds
from sweep import cli
from sweep.exit_codes import ExitCode
from sweep.plan.plan import plan_sweep
from sweep.spec.read import load_spec
from tests.support import fakes
from tests.support.calling import call
from tests.support.policies import POLICIES
from tests.support.starting import start, swallow_the_end, write_spec

HEAVY = ("engine._core", "ray", "polars", "pyarrow", "scipy", "numpy", "ruamel.yaml")
NOT_IN_KERNBENCH: Final = MappingProxyType(
    {"xen-oos": "the question of the main sweep is what KVM's patches are worth"}
)
"""Shipped policy -> why the main sweep leaves it out."""
KERNBENCH_CELLS: Final = 36 * (len(POLICIES) - len(NOT_IN_KERNBENCH))


def test_help_imports_nothing_heavy(project: Path) -> None:
    """Help shows the verbs and has imported none of the large libraries, so that it is there at once."""
    text = f"""
import sys
sys.argv = ["sweep", "--help"]
from sweep.cli import main
try:
    main()
finally:
    print("HEAVY", [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    ended = subprocess.run([sys.executable, "-c", text], cwd=project, capture_output=True, text=True, check=True)

    assert "Usage: sweep" in ended.stdout
    assert ended.stderr == "HEAVY []\n"


def test_help_lists_each_verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb is in the help with the first line of its own help."""
    code = call(monkeypatch, "--help")

    out = " ".join(capsys.readouterr().out.split())
    assert code == ExitCode.OK
    for name in cli.VERBS:
        verb = cli.load_verb(name)
        assert verb.name == name
        assert f" {name} {verb.help.splitlines()[0]}" in out


def test_an_unknown_verb_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped verb ends with code 2 and the nearest one."""
    code = call(monkeypatch, "sumarize")

    assert code == ExitCode.USAGE
    assert "Did you mean 'summarize'?" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["catalog", "--json"], ["status"]])
def test_a_closed_pipe_ends_quietly(words: list[str], project: Path, tmp_path: Path) -> None:
    """When the reader of its output is gone, the program ends without a word and with the code that shells know."""
    reading, writing = os.pipe()
    os.close(reading)

    ended = subprocess.run(
        [sys.executable, "-m", "sweep.cli", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(project)},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)

    assert (ended.returncode, ended.stderr) == (ExitCode.CLOSED_PIPE, "")
    assert ExitCode.CLOSED_PIPE == 128 + signal.SIGPIPE


@pytest.mark.parametrize("name", ["kernbench", "smoke"])
def test_shipped_sweeps_hold_every_policy(name: str, project: Path) -> None:
    """The shipped sweeps are valid and hold all policies of the registry, in its order; the main one says which not."""
    spec = load_spec(project / "configs" / f"{name}.yaml", workloads=WORKLOADS)

    expected = [one for one in POLICIES.values() if name == "smoke" or one.name not in NOT_IN_KERNBENCH]
    assert list(spec.policies) == expected
    assert spec.name == name


def test_kernbench_has_the_size_of_the_question(project: Path) -> None:
    """The main sweep is all policies of KVM on twelve guests, three times, at full size, as shells behaved in 2011."""
    spec = load_spec(project / "configs" / "kernbench.yaml", workloads=WORKLOADS)

    plan = plan_sweep(spec, "engine")

    assert {(guest.vcpus, guest.memory_mib) for guest in spec.guests} == {
        (vcpus, memory) for vcpus in (1, 2, 4, 8) for memory in (512, 1024, 4096)
    }
    assert len(plan.batches) == 36
    assert plan.cell_count == KERNBENCH_CELLS
    [case] = spec.workloads
    full = WORKLOADS["kernbench"].parameters["compile_units"].default
    assert (case.parameters["vfork_as_fork"], case.parameters["compile_units"]) == (True, full)


def test_plan_starts_nothing(
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`sweep plan --json` says how many cells and batches there are and writes no file."""
    monkeypatch.chdir(tmp_path)

    code = call(monkeypatch, "plan", str(project / "configs" / "kernbench.yaml"), "--json")

    content = json.loads(capsys.readouterr().out)
    assert code == ExitCode.OK
    assert (content["cells"], content["cells_new"], content["batches"]) == (KERNBENCH_CELLS, KERNBENCH_CELLS, 36)
    assert content["estimate"] is None
    assert content["dominating_axis"] == "guests: multiplies the number of traces by 12"
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_a_verb_is_what_was_asked_for(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb that is told to end says so by its exit code, whatever the library raises that it was in."""
    monkeypatch.setattr("sweep.commands.plan.plan_sweep", swallow_the_end)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    code = call(monkeypatch, "plan", str(project / "configs" / "kernbench.yaml"))

    assert code == ExitCode.INTERRUPTED
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_plan_knows_what_is_finished(tmp_path: Path) -> None:
    """After a run the plan of a larger sweep counts finished cells and estimates the rest from what was measured."""
    from sweep.commands.plan import plan_content, plan_lines
    from sweep.plan.estimate import estimate_cost
    from sweep.plan.plan import identities, remaining
    from tests.support.starting import read

    path = write_spec(tmp_path)
    start(path)
    larger = read(path, "replicates=5")
    plan = plan_sweep(larger, "a fake engine")
    finished = CellIds.joined([identities(plan_sweep(read(path), "a fake engine").batches)])
    left = remaining(plan, finished)

    cost = estimate_cost(left, tmp_path)
    content = plan_content(larger, plan, left=left, cost=cost) | {"run": "runs/small"}

    assert (content["cells_finished"], content["cells_new"], content["batches_new"]) == (16, 24, 6)
    assert cost is not None
    assert cost.total_seconds > 0
    text = "\n".join(plan_lines(content))
    assert "40: 16 are there, 24 to do" in text
    assert "from 4 earlier batches here" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["fsck", "FILE"],
            "FILE/spec.json: Not a directory\n  a run is a folder that you may write, or a URL: give another",
        ),
        (["status", "FILE"], "FILE/spec.json: Not a directory\n  a run is a folder that you may write, or a URL"),
        (["run", "FILE", "--out", "FILE"], "FILE: File exists\n  a run is a folder that you may write, or a URL: give"),
        (["export", "RUN", "-o", "nowhere/x.csv"], "-o nowhere/x.csv: there is no folder nowhere. Make it, or name"),
        (
            ["cancel", "a-job", "--address", "head"],
            "--address head: no address of a dashboard; give one such as http://",
        ),
        (["doctor", "--address", "head"], "--address head: no HOST:PORT of a head; give one such as head:6379"),
    ],
)
def test_wrong_input_ends_with_what_to_give(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong on the command line ends with code 2 and a message that says what to give instead."""
    spec = write_spec(tmp_path)
    monkeypatch.setattr("engine.workloads.WORKLOADS", fakes.WORKLOADS)
    if "RUN" in words:
        start(spec)
        capsys.readouterr()
    names = {"FILE": str(spec), "RUN": str(tmp_path / "run")}

    code = call(monkeypatch, *[names.get(word, word) for word in words])

    assert code == ExitCode.USAGE
    assert capsys.readouterr().err.startswith(said.replace("FILE", str(spec)))


def test_there_may_be_nothing_to_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`sweep retry` of a run in which nothing has failed says so, and nothing else."""
    start(write_spec(tmp_path))
    monkeypatch.setattr("sweep.plan.cell.engine_fingerprint", lambda: "a fake engine")
    run = str(tmp_path / "run")
    capsys.readouterr()

    code = call(monkeypatch, "retry", run)

    said = capsys.readouterr()
    assert code == ExitCode.OK
    assert said.out == f"nothing to retry: no cell of {run} has failed; `sweep run` does what is not there yet\n"
    assert said.err == ""


def test_catalog_holds_every_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`sweep catalog --json` lists all policies, knobs, workloads and counters of the registries."""
    code = call(monkeypatch, "catalog", "--json")

    content = json.loads(capsys.readouterr().out)
    names = {section: [row["name"] for row in rows] for section, rows in content.items()}
    assert code == ExitCode.OK
    assert names["policies"] == list(POLICIES)
    assert names["knobs"] == list(KNOBS)
    assert names["workloads"] == list(WORKLOADS)
    assert names["counters"] == list(COUNTER_NAMES)
    assert {"linux-2011", "linux-6"} < set(names["guests"])
    assert "nehalem-2011" in names["costs"]
    knobs, guests = ({row["name"]: row for row in content[section]} for section in ("knobs", "guests"))
    threshold = {"type": "integer", "unit": "1", "default": 3, "minimum": 0, "maximum": 255}
    assert {key: knobs["flood_threshold"][key] for key in threshold} == threshold
    assert knobs["flood_scope"]["choices"] == ["page", "vcpu", "spte"]
    assert (guests["memory_mib"]["unit"], guests["page_cache_share"]["type"]) == ("MiB", "number")
    parameters = {row["name"]: row for row in content["workloads"][0]["parameters"]}
    assert (parameters["tick_ns"]["unit"], parameters["vfork_as_fork"]["default"]) == ("ns", True)


def test_summarize_and_diff_read_a_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`summarize` prints all forms under another baseline; `diff` is 0 for equal runs and 3 for others."""
    path = write_spec(tmp_path)
    start(path, out="a")
    start(path, out="b")
    start(path, "seed=5", out="c")
    capsys.readouterr()

    forms = {}
    for form in ("--json", "--csv", "--md"):
        assert call(monkeypatch, "summarize", str(tmp_path / "a"), form, "--baseline", "tdp") == ExitCode.OK
        forms[form] = capsys.readouterr().out
    same = call(monkeypatch, "diff", str(tmp_path / "a"), str(tmp_path / "b"))
    other = call(monkeypatch, "diff", str(tmp_path / "a"), str(tmp_path / "c"))

    rows = json.loads(forms["--json"])["summary"]
    assert {row["difference_percent"] for row in rows if row["policy"] == "tdp"} == {0.0}
    assert len(forms["--csv"].splitlines()) == len(rows) + 1 == 9
    assert forms["--md"].count("| tdp |") == 2
    assert (same, other) == (ExitCode.OK, ExitCode.DIFFERS)
    assert "cells: identical (16 rows)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["summarize", "nowhere"], "nowhere: no run here"),
        (["diff", "nowhere", "neither"], "nowhere: no run here"),
        (["summarize", "nowhere", "--json", "--md"], "exclude each other"),
        (["run", "nothing.yaml"], "nothing.yaml: can't read the file"),
    ],
)
def test_wrong_use_is_told_without_a_traceback(
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the user can mend is one message on stderr and code 2."""
    monkeypatch.chdir(tmp_path)

    code = call(monkeypatch, *words)

    out, err = capsys.readouterr()
    assert (code, out) == (ExitCode.USAGE, "")
    assert expected in err
    assert "Traceback" not in err


def test_another_baseline_must_be_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A baseline that the run does not have is an error that lists those it has."""
    path = write_spec(tmp_path)
    start(path)
    capsys.readouterr()

    code = call(monkeypatch, "summarize", str(tmp_path / "run"), "--baseline", "kvm-9")

    assert code == ExitCode.USAGE
    assert "kvm-3.0, kvm-3.3, tdp, xiao-v1" in capsys.readouterr().err
