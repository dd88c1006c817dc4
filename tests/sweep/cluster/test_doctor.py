"""The doctor's judgement of facts that are given to it, and what it does on this machine without any cluster."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from results.store.local import LocalStorage
from results.store.opening import open_storage
from sweep.backends.ray.facts import PACKAGES, NodeFacts, gather_facts
from sweep.cluster.checks import Check, CheckState, Seen, check_nodes, missing_nodes
from sweep.cluster.shared import Probe, check_run, probe_folder, probe_run
from sweep.commands import doctor
from sweep.exit_codes import ExitCode
from tests.support.calling import call

HEALTHY = NodeFacts(
    host="node",
    versions={"python": "3.11.7", **dict.fromkeys(PACKAGES, "1.0")},
    engine="abc",
    cores=8,
    files_max=65_536,
    processes_max=-1,
    temp_folder="/tmp",
    temp_free=50 << 30,
    shm_free=8 << 30,
    core="def",
    clock=0.0,
)
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "versions": ({"versions": {**HEALTHY.versions, "ray": "2.59.0"}}, "requirements.lock"),
    "our code": ({"engine": "other"}, "--upload-code"),
    "core": ({"core": "other"}, "make setup"),
    "open files": ({"files_max": 1024}, "ulimit -n 4096"),
    "processes": ({"processes_max": 100}, "ulimit -u 512"),
    "temporary space": ({"temp_free": 1 << 20}, "RAY_TMPDIR"),
    "shared memory": ({"shm_free": 64 << 20}, "--shm-size"),
}
"""Name of a check -> facts that it has to find, and a word of what it has to advise."""


def seen(facts: NodeFacts, *, node: str = "node", skew: float = 0.0, uncertainty: float = 0.0) -> Seen:
    """Return facts as a node has told them."""
    return Seen(node=node, facts=facts, skew=skew, uncertainty=uncertainty)


def found(checks: list[Check]) -> dict[str, CheckState]:
    """Return the state of each check that is not well."""
    return {check.name: check.state for check in checks if check.state is not CheckState.OK}


def test_healthy_nodes_pass() -> None:
    """Nodes that are like this machine pass every check, and nothing is advised."""
    checks = check_nodes([seen(HEALTHY, node="a"), seen(HEALTHY, node="b")], HEALTHY)

    assert found(checks) == {}
    assert [check for check in checks if check.advice] == []


@pytest.mark.parametrize("name", BAD)
def test_each_bad_fact_is_found_and_says_what_to_do(name: str) -> None:
    """One bad fact of one node fails its check and no other, names the node, and says what to do."""
    facts, advice = BAD[name]

    checks = check_nodes([seen(HEALTHY, node="good"), seen(replace(HEALTHY, **facts), node="bad")], HEALTHY)

    assert found(checks) == {name: CheckState.FAILED}
    (check,) = [one for one in checks if one.state is not CheckState.OK]
    assert "bad" in check.where + check.found
    assert advice in check.advice


@pytest.mark.parametrize(("skew", "uncertainty", "fits"), [(1.5, 0.0, True), (-2.5, 0.0, False), (2.5, 1.0, True)])
def test_clocks_are_judged_within_what_is_known(skew: float, uncertainty: float, *, fits: bool) -> None:
    """A clock fails if it is off by more than 2 s beyond the uncertainty of looking at it."""
    checks = check_nodes([seen(HEALTHY, skew=skew, uncertainty=uncertainty)], HEALTHY)

    assert found(checks) == ({} if fits else {"clock": CheckState.FAILED})


def test_missing_nodes_are_told() -> None:
    """A cluster that stays too small fails; one that has enough passes."""
    assert missing_nodes(3, 4, 300.0).state is CheckState.FAILED
    assert missing_nodes(4, 4, 1.0).state is CheckState.OK


def test_a_good_folder_passes_and_is_left_as_it_was(tmp_path: Path) -> None:
    """Trying a run's place finds what commits need, and leaves neither files nor a folder that was not there."""
    run = str(tmp_path / "run")

    with probe_folder(run) as place:
        checks = check_run(run, place, [probe_run(place, "a"), replace(probe_run(place, "b"))])

    assert found(checks) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("probe", "name"),
    [
        (Probe(node="b", error="PermissionError: denied"), "shared run path"),
        (Probe(node="b", sees_driver=True, whole=False, keeps_first=True), "atomic rename"),
        (Probe(node="b", sees_driver=True, whole=True, keeps_first=False), "put-if-absent"),
        (Probe(node="b", sees_driver=True, whole=True, keeps_first=True, won=True), "put-if-absent"),
    ],
    ids=["not writable", "half a file", "overwrites", "two winners"],
)
def test_a_place_that_does_not_keep_commits_apart_fails(tmp_path: Path, probe: Probe, name: str) -> None:
    """A node that can't write, sees half files, overwrites, or also wins a file, fails that check with advice."""
    run = str(tmp_path / "run")

    with probe_folder(run) as place:
        good = probe_run(place, "a")
        open_storage(place).put("node-b", b"b")
        checks = check_run(run, place, [good, probe])

    (bad,) = [check for check in checks if check.state is not CheckState.OK]
    assert (bad.name, bool(bad.advice)) == (name, True)


def test_a_folder_of_this_node_alone_is_found(tmp_path: Path) -> None:
    """A path that means another folder on another node is no place for a run."""
    with probe_folder(str(tmp_path / "here")) as place:
        elsewhere = probe_run(place.replace("here", "there"), "b")
        checks = check_run(str(tmp_path / "here"), place, [elsewhere])

    assert found(checks) == {"shared run path": CheckState.FAILED}


def test_torn_files_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system on which a replaced file can be read half fails the check of renames."""
    whole = LocalStorage.read

    def torn(self: LocalStorage, name: str) -> bytes:
        content = whole(self, name)
        return content[: len(content) // 2] if name.startswith("rename-") else content

    monkeypatch.setattr(LocalStorage, "read", torn)
    with probe_folder(str(tmp_path / "run")) as place:
        probe = probe_run(place, "a")

    assert (probe.error, probe.whole) == ("", False)


def test_the_verb_ends_with_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sweep doctor` ends with 0, or with 78 and what to do where a check failed; --json says the same."""
    facts = replace(gather_facts(), files_max=65_536, processes_max=-1, temp_free=50 << 30, shm_free=8 << 30)
    monkeypatch.setattr("sweep.backends.ray.facts.gather_facts", lambda: facts)
    well = CliRunner().invoke(doctor.app, ["--out", str(tmp_path / "run"), "--json"])
    monkeypatch.setattr("sweep.backends.ray.facts.gather_facts", lambda: replace(facts, files_max=256))

    ill = CliRunner().invoke(doctor.app, ["--out", str(tmp_path / "run")])
    told = CliRunner().invoke(doctor.app, ["--json"])

    assert (well.exit_code, json.loads(well.stdout)["fit"]) == (ExitCode.OK, True)
    assert (ill.exit_code, told.exit_code) == (ExitCode.UNFIT, ExitCode.UNFIT)
    assert "to do: raise it before Ray starts: ulimit -n 4096" in ill.stdout
    assert ill.stdout.splitlines()[-1].endswith("1 failed")
    assert json.loads(told.stdout)["fit"] is False


def test_a_place_that_can_not_be_written_is_an_answer(tmp_path: Path) -> None:
    """A run below something that is no folder fails its check, with what was found and what to do."""
    (tmp_path / "file").write_text("", encoding="utf-8")

    done = CliRunner().invoke(doctor.app, ["--out", str(tmp_path / "file" / "run")])

    (line,) = [line for line in done.stdout.splitlines() if "shared run path" in line]
    assert done.exit_code == ExitCode.UNFIT
    assert (line.startswith("failed"), line.endswith("Not a directory")) == (True, True)
    assert "to do: give --out a folder" in done.stdout


def test_the_address_of_a_dashboard_is_not_that_of_a_head(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An http:// address is an error of use that names the option and shows the form of one that fits."""
    code = call(monkeypatch, "doctor", "--address", "http://127.0.0.1:8265")

    said = capsys.readouterr().err
    assert code == ExitCode.USAGE
    assert said.startswith("--address http://127.0.0.1:8265: ")
    assert "give HOST:PORT of the head" in said
