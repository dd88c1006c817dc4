"""A field of a guest is declared once: a line in engine/guests.py, and everything that speaks of guests knows it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from engine.guests import GUEST_FIELDS
from tests.support.project import DATA, ROOT

RUNS: Final = DATA / "runs"
AFTER: Final = "    @property\n    def pages("
LINE: Final = (
    '    paging: str = declared("4-level", "levels of the guest\'s tables", '
    'choices=("4-level", "5-level"), source="a test", since=99)\n\n'
)
TOLD: Final = """
import json, sys
from pathlib import Path
import polars as pl
from docs.generate_reference import guests
from engine.workloads import WORKLOADS
from results.store.columns import columns_markdown
from results.store.schema import SCHEMA_VERSION, table_schema
from results.store.run_store import RunStore
from sweep.plan.plan import plan_sweep
from sweep.tasks.worker import batch_cells
from sweep.spec.spec import guest_label
from sweep.spec.read import load_spec

spec = load_spec(Path("configs/smoke.yaml"), ["guests={paging: [4-level, 5-level]}"], workloads=WORKLOADS)
plan = plan_sweep(spec, "engine")
json.dump({
    "labels": [guest_label(guest) for guest in spec.guests],
    "cells": [cell for batch in plan.batches for cell in batch.cell_ids],
    "seeds": sorted({batch.seed for batch in plan.batches}),
    "rows": [batch_cells(batch)[0].row()["paging"] for batch in plan.batches],
    "version": SCHEMA_VERSION,
    "columns": {name: str(table_schema(name).field("paging").type) for name in ("cells", "windows", "failures")},
    "pages": {"guests": guests(), "columns": columns_markdown()},
    "old": {
        run: RunStore(run).scan("cells").select("paging", "host_paging").unique().sort("host_paging").collect().rows()
        for run in sys.argv[1:]
    },
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the packages in which a guest has one more field, by one more line."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("engine", "results", "sweep", "configs", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    guests = folder / "engine" / "guests.py"
    text = guests.read_text(encoding="utf-8")
    assert text.count(AFTER) == 1
    guests.write_text(text.replace(AFTER, LINE + AFTER), encoding="utf-8")
    return folder


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, check=False, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def told(checkout: Path) -> dict[str, Any]:
    """Return what the copy says about guests."""
    done = run(checkout, "-c", TOLD, *(str(RUNS / version) for version in ("v1", "v2")))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_no_such_field_is_here() -> None:
    """The field is the copy's alone."""
    assert "paging" not in GUEST_FIELDS


def test_guests_that_differ_in_it_are_two(told: dict[str, Any]) -> None:
    """They have other labels and other cells, and meet the same draw."""
    assert told["labels"] == ["1cpu-1g", "1cpu-1g paging=5-level"]
    assert len(set(told["cells"])) == len(told["cells"]) > 0
    assert len(told["seeds"]) == 2
    assert told["rows"] == ["4-level", "4-level", "5-level", "5-level"]


def test_it_is_a_column_of_a_new_version(told: dict[str, Any]) -> None:
    """Tables and their pages have it, and the version of the schema is that of the line."""
    assert told["columns"] == dict.fromkeys(("cells", "windows", "failures"), "string")
    assert told["version"] == 99
    assert all("| `paging` | " in page for page in told["pages"].values())


def test_older_rows_have_its_default(told: dict[str, Any]) -> None:
    """Guests of older runs are what the default says; the host's paging is not mistaken for theirs."""
    assert list(told["old"].values()) == [[["4-level", "nested"], ["4-level", "shadow"]]] * 2


def test_the_command_line_knows_it(checkout: Path) -> None:
    """The catalog describes it, an override sets it, and a wrong value is refused with what is allowed."""
    catalog = run(checkout, "-m", "sweep.cli", "catalog", "guests", "--json")
    plan = run(checkout, "-m", "sweep.cli", "plan", "configs/smoke.yaml", "-s", "guests.paging=5-level", "--json")
    wrong = run(checkout, "-m", "sweep.cli", "plan", "configs/smoke.yaml", "-s", "guests.paging=6-level")

    rows = {row["name"]: row for row in json.loads(catalog.stdout)["guests"]}
    assert rows["paging"] == {
        "name": "paging",
        "summary": "levels of the guest's tables",
        "type": "string",
        "unit": "1",
        "default": "4-level",
        "choices": ["4-level", "5-level"],
        "source": "a test",
    }
    assert plan.returncode == 0, plan.stderr
    assert wrong.returncode == 2
    assert "guests: paging: expected one of 4-level, 5-level, found '6-level'" in wrong.stderr
