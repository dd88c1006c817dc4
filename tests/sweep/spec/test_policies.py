"""Policies are files: found by name or by path, built on each other; what is wrong is said with its place."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

import pytest

from engine.knobs import KNOBS, Knobs
from results.store.run_store import RunStore
from sweep.exit_codes import ExitCode
from sweep.spec.nodes import Source
from sweep.spec.policies import shipped_policies
from sweep.spec.problems import SpecError
from sweep.spec.read import read_spec
from tests.support import fakes
from tests.support.calling import call
from tests.support.policies import POLICIES
from tests.support.project import ROOT
from tests.support.starting import start, write_spec

TOLD: Final = "summary: mine\nsource: a test\n"


def write(folder: Path, **files: str) -> Path:
    """Write files of policies."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def knobs_of(folder: Path, policies: str) -> dict[str, Knobs]:
    """Return name -> knobs of the policies of a sweep in this folder."""
    text = f"workloads: [fork]\npolicies: {policies}\n"
    spec = read_spec(Source(name="spec.yaml", text=text), workloads=fakes.WORKLOADS, folder=folder)
    return {policy.name: policy.knobs for policy in spec.policies}


def said(folder: Path, policies: str = "[./mine.yaml]") -> str:
    """Return what is said about a sweep of wrong policies, without the folder."""
    with pytest.raises(SpecError) as caught:
        knobs_of(folder, policies)
    return str(caught.value).replace(f"{folder}/", "")


def test_the_shipped_policies_are_whole() -> None:
    """Each says what it does and where it is from; the first names are those that a table begins with."""
    assert [policy for policy in POLICIES.values() if not (policy.summary and policy.source)] == []
    assert POLICIES["kvm-6.1"].knobs == Knobs()
    assert list(POLICIES)[:3] == ["always-emulate", "kvm-2.6-no-unsync", "kvm-3.0"]
    assert list(POLICIES)[-1] == "tdp"


def test_a_file_changes_its_base(tmp_path: Path) -> None:
    """A policy has the knobs of its base, by name or path from where the file is, and its own above them."""
    below = tmp_path / "below"
    below.mkdir()
    write(tmp_path, first=TOLD + "base: kvm-3.0\nknobs: {flood_threshold: 9, unsync: false}\n")
    write(below, second=TOLD + "base: ../first.yaml\nknobs: {flood_threshold: 10}\n", third=TOLD)

    found = knobs_of(tmp_path, "[./first.yaml, below/second.yaml, below/third.yaml]")

    old = asdict(POLICIES["kvm-3.0"].knobs) | {"unsync": False}
    assert asdict(found["first"]) == old | {"flood_threshold": 9}
    assert asdict(found["second"]) == old | {"flood_threshold": 10}
    assert found["third"] == Knobs()


def test_a_file_is_a_base_like_any_other(tmp_path: Path) -> None:
    """A sweep overrides and sweeps knobs of a file, by an absolute path as well."""
    write(tmp_path, mine=TOLD + "base: kvm-3.3\n")

    found = knobs_of(tmp_path, f"[kvm-6.1, {{base: {tmp_path}/mine.yaml, flood_threshold: [1, 2]}}]")

    assert list(found) == ["kvm-6.1", "mine flood_threshold=1", "mine flood_threshold=2"]
    assert asdict(found["mine flood_threshold=2"]) == asdict(POLICIES["kvm-3.3"].knobs) | {"flood_threshold": 2}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            TOLD + "knobs:\n  flood_treshold: 3\n",
            (
                "mine.yaml:4:3: policy mine: unknown knob 'flood_treshold'\n"
                "  4 |   flood_treshold: 3\n"
                "    |   ^^^^^^^^^^^^^^\n"
                "  did you mean 'flood_threshold'?\n"
                f"  allowed: {', '.join(sorted(KNOBS))}"
            ),
        ),
        (
            TOLD + "knobs: {flood_threshold: 256, flood_scope: pag}\n",
            (
                "mine.yaml:3:26: policy mine: flood_threshold: expected a whole number from 0 to 255, found 256\n"
                "  3 | knobs: {flood_threshold: 256, flood_scope: pag}\n"
                "    |                          ^^^\n"
                "mine.yaml:3:44: policy mine: flood_scope: expected one of page, vcpu, spte, found 'pag'\n"
                "  3 | knobs: {flood_threshold: 256, flood_scope: pag}\n"
                "    |                                            ^^^\n"
                "  did you mean 'page'?"
            ),
        ),
        (
            "source: a test\n",
            (
                "mine.yaml:1:1: policy mine: the key 'summary' is missing\n"
                "  1 | source: a test\n"
                "    | ^\n"
                "  say in one sentence how the hypervisor reacts"
            ),
        ),
        (
            "summary: mine\nsource:\n",
            (
                "mine.yaml:2:1: policy mine: source: expected a text\n"
                "  2 | source:\n"
                "    | ^^^^^^\n"
                "  name what another person can open: a file of a kernel version, a commit, a paper; or an assumption"
            ),
        ),
        (
            TOLD + "unsync: false\n",
            (
                "mine.yaml:3:1: policy mine: unknown key 'unsync'\n"
                "  3 | unsync: false\n"
                "    | ^^^^^^\n"
                "  knobs stand under `knobs:`"
            ),
        ),
        (
            TOLD + "knobs: [unsync]\n",
            (
                "mine.yaml:3:8: policy mine: knobs: expected a mapping, as in `knobs: {flood_threshold: 10}`\n"
                "  3 | knobs: [unsync]\n"
                "    |        ^^^^^^^^"
            ),
        ),
        (
            "- a\n",
            (
                "mine.yaml:1:1: a policy is a mapping with the keys summary, source, order, base, knobs\n"
                "  1 | - a\n"
                "    | ^"
            ),
        ),
        (
            TOLD + "base: ./nothing.yaml\n",
            (
                "mine.yaml:3:7: policies: no file for './nothing.yaml'\n"
                "  3 | base: ./nothing.yaml\n"
                "    |       ^^^^^^^^^^^^^^\n"
                f"  allowed: {', '.join(sorted(POLICIES))}\n"
                "  names are files in configs/policies; a path ends in .yaml"
            ),
        ),
    ],
)  # fmt: skip
def test_a_wrong_file_is_pointed_into(text: str, expected: str, tmp_path: Path) -> None:
    """What is wrong with a policy is said with file, line, column, caret and what is right."""
    assert said(write(tmp_path, mine=text)) == expected


def test_a_base_may_not_lead_back(tmp_path: Path) -> None:
    """A chain of bases that ends nowhere is an error at the base that closes it, and is said once."""
    write(tmp_path, mine=TOLD + "base: ./other.yaml\n", other=TOLD + "base: ./mine.yaml\n")

    found = said(tmp_path, "[./mine.yaml, ./other.yaml, {base: ./mine.yaml, unsync: false}]")

    assert found == (
        "other.yaml:3:7: policies: the base of 'mine' leads back to itself: mine -> other -> mine\n"
        "  3 | base: ./mine.yaml\n"
        "    |       ^^^^^^^^^^^\n"
        "  a chain of bases ends in a file without `base`"
    )


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    """A file of a shipped policy's name can't stand beside it: no table could tell them apart."""
    write(tmp_path, tdp=TOLD)

    assert "policy 'tdp' is there twice" in said(tmp_path, "[tdp, ./tdp.yaml]")


def test_a_new_summary_leaves_cells_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sweep that gets one more policy simulates its cells only; other words about a policy cost nothing."""
    spec = write_spec(tmp_path)
    write(tmp_path, mine=TOLD + "base: kvm-3.3\nknobs: {flood_threshold: 7}\n")
    more = "policies=[kvm-3.0, kvm-3.3, xiao-v1, tdp, ./mine.yaml]"
    start(spec)
    capsys.readouterr()

    grown = start(spec, more)
    did = capsys.readouterr().err
    write(tmp_path, mine="summary: other words\nsource: another\nbase: kvm-3.3\nknobs: {flood_threshold: 7}\n")
    again = start(spec, more)

    cells = RunStore(tmp_path / "run").scan("cells").collect()
    assert (grown, again) == (ExitCode.OK, ExitCode.OK)
    assert "4 cells in 4 batches to do, 16 are there" in did
    assert (cells.height, cells.filter(policy="mine").height) == (20, 4)
    assert "nothing to do: 20 cells are already there" in capsys.readouterr().err
    assert RunStore(tmp_path / "run").spec()["policies"][-1]["summary"] == "other words"


@pytest.mark.slow
def test_a_new_policy_is_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A policy of a user's own, in a folder of its own, is simulated beside finished cells, over the same trace."""
    write(tmp_path, mine=TOLD + "base: kvm-3.3\nknobs: {rep_limit: 7}\n")
    monkeypatch.chdir(ROOT)
    words = ("run", "configs/smoke.yaml", "--out", str(tmp_path / "run"), "-s", "guests.vcpus=1", "-s", "replicates=1")
    few = "policies=[kvm-3.0, kvm-3.3]"
    first = call(monkeypatch, *words, "-s", few)
    capsys.readouterr()

    second = call(monkeypatch, *words, "-s", f"policies=[kvm-3.0, kvm-3.3, {tmp_path}/mine.yaml]")

    cells = RunStore(tmp_path / "run").scan("cells").collect()
    assert (first, second) == (ExitCode.OK, ExitCode.OK), capsys.readouterr().err
    assert cells.sort("policy")["policy"].to_list() == ["kvm-3.0", "kvm-3.3", "mine"]
    assert cells["trace_digest"].n_unique() == 1
    assert json.loads((tmp_path / "run" / "spec.json").read_text())["policies"][-1]["knobs"]["rep_limit"] == 7


def test_a_wrong_shipped_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog of policies is whole or says what is wrong with which file."""
    (tmp_path / "policies").mkdir()
    write(tmp_path / "policies", mine=TOLD + "base: kvm-9\n")
    monkeypatch.setattr("sweep.spec.policies.CONFIGS", tmp_path)
    monkeypatch.setattr("sweep.spec.configs.CONFIGS", tmp_path)

    with pytest.raises(SpecError, match=r"mine\.yaml:3:7: policies: no file for 'kvm-9'"):
        shipped_policies()
