"""The README's table and picture come from a run."""

from pathlib import Path
from typing import Any

import pytest

from docs.show_result import MARKS, section
from results.store.run_store import RunStore
from tests.support.project import ROOT
from tests.support.synthetic import POLICIES, PROVENANCE, cell, write_batch


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a made-up run of two guests and two replicates."""
    spec: dict[str, Any] = {
        "name": "synthetic",
        "policies": [{"name": policy} for policy in POLICIES],
        "workloads": [{"label": "kernbench", "name": "kernbench"}],
        "guests": [{"vcpus": vcpus, "memory_mib": 1024} for vcpus in (1, 4)],
        "baseline": "kvm-3.0",
        "costs": "nehalem-2011",
        "replicates": 2,
    }
    store = RunStore(tmp_path / "run")
    store.create(spec, {**PROVENANCE, "command": "sweep run synthetic.yaml"})
    for replicate in range(2):
        for vcpus in (1, 4):
            guest = {"guest": f"{vcpus} vCPU 1024 MiB", "vcpus": vcpus, "memory_mib": 1024}
            cells = [cell(policy, replicate, **guest) for policy in POLICIES]
            store.commit(write_batch(store, f"batch-{vcpus}-{replicate}", cells))
    return store.path


def test_the_section_shows_each_policy_on_each_guest(run: Path) -> None:
    """Every policy has a row per shown guest, and what was published stands beside the predictions."""
    text, chart = section(run)

    assert [text.count(f"| `{policy}` |") for policy in POLICIES] == [2] * len(POLICIES)
    assert text.count("-6.14 %") == 4
    (rows,) = chart["datasets"].values()
    assert len(rows) == 2 * (len(POLICIES) - 1)


def test_the_readme_has_one_place_for_it() -> None:
    """The marks are in README.md once."""
    readme = ROOT / "README.md"

    assert len(MARKS.findall(readme.read_text(encoding="utf-8"))) == 1
