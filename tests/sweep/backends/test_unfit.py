"""Machines that can't take part: their tasks go elsewhere, and no batch is blamed for it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.operations import OPERATION
from results.store.run_store import RunStore
from sweep.backends.ray.nodes import a_file_of_the_run, differences, look
from sweep.exit_codes import ExitCode, SweepError
from sweep.plan.cell import engine_fingerprint
from sweep.start import execute as execute_module
from tests.support.machines import Machines
from tests.support.starting import start, write_spec

CELLS = 16


@pytest.mark.parametrize("copies", [False, True], ids=["no run there", "another folder there"])
def test_a_machine_that_does_not_see_the_run_gets_no_more_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, copies: bool
) -> None:
    """What it was given is done elsewhere at once; the sweep ends well, with each cell once and no failure."""
    machines = Machines(bad_folder=tmp_path / "elsewhere", copies=copies)
    monkeypatch.setattr(execute_module, "open_backend", lambda *_: machines)

    code = start(write_spec(tmp_path))

    store = RunStore(tmp_path / "run")
    said = capsys.readouterr().err
    assert code is ExitCode.OK
    assert machines.done_by_bad == 1
    assert len(store.finished_cells()) == CELLS
    assert store.failures().collect().is_empty()
    assert said.count("gets no more work") == 1
    assert ("the same path is another folder there" if copies else "no run here") in said


def test_a_machine_with_another_recording_simulates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cells are named after the bytes of a recording: who has others under its path gets no work."""
    recording = tmp_path / "recording.npy"
    np.save(recording, np.zeros(10, OPERATION))
    machines = Machines(bad_folder=tmp_path / "elsewhere", recording=recording)
    monkeypatch.setattr(execute_module, "open_backend", lambda *_: machines)

    code = start(write_spec(tmp_path), f"workloads=[{{name: replay, path: {recording}}}]")

    assert code is ExitCode.OK
    assert machines.done_by_bad == 1
    assert len(RunStore(tmp_path / "run").finished_cells()) == CELLS
    assert "the recording here is not the one that the sweep was planned with" in capsys.readouterr().err


@pytest.mark.parametrize(("engine", "told"), [("another", True), (engine_fingerprint(), False), (None, False)])
def test_nodes_are_asked_for_their_engine(tmp_path: Path, engine: str | None, *, told: bool) -> None:
    """A node whose engine is not the one of the plan is told before the first task; without the engine none is."""
    start(write_spec(tmp_path))
    run = str(tmp_path / "run")

    with a_file_of_the_run(run) as (name, token):
        problems = list(differences(look(run, name), token=token, run=run, engine=engine))

    assert [("the engine on" in one, "every node" in one) for one in problems] == [(True, True)] * told


def test_a_node_whose_core_is_of_other_sources_takes_no_part(tmp_path: Path) -> None:
    """The same sources with a core that was built from others, or with none, would count by other rules."""
    start(write_spec(tmp_path))
    run, engine = str(tmp_path / "run"), engine_fingerprint()

    with a_file_of_the_run(run) as (name, token):
        seen = look(run, name)
        stale = replace(seen, facts=replace(seen.facts, core="built from other sources"))
        problems = list(differences(stale, token=token, run=run, engine=engine))

    assert len(problems) == 1
    assert "built from other sources" in problems[0]
    assert "make setup" in problems[0]


def test_without_another_machine_the_sweep_ends_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no machine is left no cell is written down as failed, the reason is told, and the same command goes on."""
    machines = Machines(bad_folder=tmp_path / "elsewhere", good=False)
    spec = write_spec(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(execute_module, "open_backend", lambda *_: machines)
        with pytest.raises(SweepError, match="no machine is left") as ended:
            start(spec)

    assert ended.value.exit_code is ExitCode.STORAGE
    assert "no run here" in str(ended.value)
    assert f"To go on: sweep run {spec}" in str(ended.value)
    assert RunStore(tmp_path / "run").failures().collect().is_empty()
    assert start(spec) is ExitCode.OK
