"""A run folder from a stranger: whatever its files say, verbs answer with an error and touch nothing outside."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.store import soundness
from results.store.local import LocalStorage
from results.store.manifest import Manifest
from results.store.parts import PART_TABLES, Part
from results.store.run_store import RunStore
from results.store.schema import SchemaError
from results.store.storage import StoreError
from sweep.commands import diff, report, status, summarize
from sweep.exit_codes import ExitCode
from tests.support.mutations import DEEP, answer, bytes_damaged, json_damaged, tree
from tests.support.project import DATA

RUN = DATA / "runs" / "v1"
ENTRY = next(RUN.glob("manifest/*.json")).relative_to(RUN)
JSON_FILES = ("spec.json", "provenance.json", str(ENTRY))
TABLE_FILES = [
    str(next(RUN.glob(f"{folder}/*.parquet")).relative_to(RUN)) for folder in ("cells", "windows", "failures")
]
TABLE_FILES.append("labels.parquet")
DAMAGES = 5
"""Random damages of each file, beside the fixed ones."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a copy of a small run beside a file that is none of its business."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "precious.parquet").write_text("precious", encoding="utf-8")
    shutil.copytree(RUN, tmp_path / "run")
    return tmp_path / "run"


def read_it(run: Path) -> None:
    """Let the verbs that read runs say what they make of one."""
    answer(status.app, str(run))
    answer(summarize.app, str(run))
    answer(diff.app, str(run), str(RUN))


def take_it_up(run: Path) -> None:
    """Do what `sweep run` does with a run that is there before it simulates anything."""
    store = RunStore(run)
    try:
        with store.storage.lock({"pid": "1"}):
            store.create(store.spec(), {"code_fingerprint": "x"})
            store.finished_cells()
            store.remove_orphans()
    except (StoreError, SchemaError, OSError, pa.ArrowException):
        return


def test_the_whole_run_is_fine(run: Path) -> None:
    """The run that the other tests damage is one that verbs read."""
    assert answer(summarize.app, str(run), "--allow-partial")[0] == ExitCode.OK
    assert answer(status.app, str(run))[0] == ExitCode.OK


@pytest.mark.parametrize("name", JSON_FILES)
def test_damaged_json_is_an_error(run: Path, name: str) -> None:
    """A JSON file of a run with any value in any place ends verbs with a message, or changes nothing that they need."""
    path = run / name
    text = path.read_text(encoding="utf-8")

    for changed in json_damaged(text, np.random.default_rng(1), 2 * DAMAGES):
        path.write_text(changed, encoding="utf-8")
        read_it(run)


@pytest.mark.parametrize("name", TABLE_FILES)
def test_damaged_tables_are_an_error(run: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Parquet file of a run that is cut or has other bytes ends verbs with a message, or is read."""
    # As in a run that is too large to be hashed, so that readers meet the damage.
    monkeypatch.setattr(soundness, "HASHED_BYTES", 0)
    path = run / name
    content = path.read_bytes()

    for changed in bytes_damaged(content, np.random.default_rng(2), DAMAGES):
        path.write_bytes(changed)
        read_it(run)


def test_a_report_of_a_damaged_run_is_an_error(run: Path, tmp_path: Path) -> None:
    """The report does not come out of a run whose tables or specification are damaged."""
    page = str(tmp_path / "page.html")
    (run / TABLE_FILES[0]).write_bytes((run / TABLE_FILES[0]).read_bytes()[:100])
    code, text = answer(report.app, str(run), "-o", page)
    shutil.copy(RUN / TABLE_FILES[0], run / TABLE_FILES[0])
    (run / "spec.json").write_text("[]", encoding="utf-8")

    second, _ = answer(report.app, str(run), "-o", page)

    assert (code, second, Path(page).exists()) == (ExitCode.DAMAGED, ExitCode.DAMAGED, False)
    assert "sweep fsck" in text


@pytest.mark.parametrize("version", [0, 99, -1, "2.0", None, "²"])
def test_other_schema_versions_are_refused(run: Path, version: object) -> None:
    """An entry of a version that this program does not read is told with its version, not guessed at."""
    entry = json.loads((run / ENTRY).read_text(encoding="utf-8"))
    (run / ENTRY).write_text(json.dumps({**entry, "schema_version": version}), encoding="utf-8")

    code, text = answer(summarize.app, str(run))

    assert code == ExitCode.USAGE
    assert f"schema version {version}" in text


@pytest.mark.parametrize(
    "part",
    [
        {"table": "../victim", "name": "precious.parquet"},
        {"table": "cells", "name": "../../victim/precious.parquet"},
        {"table": "cells/../../victim", "name": "precious.parquet"},
        {"table": "", "name": "/etc/passwd.parquet"},
        {"table": "cells", "name": ".hidden.parquet"},
        {"table": ".tmp", "name": "x.parquet"},
        {"rows": -1},
        {"rows": "many"},
        {"sha256": "../../victim"},
    ],
)
def test_parts_outside_of_the_run_are_refused(run: Path, tmp_path: Path, part: dict[str, object]) -> None:
    """A manifest whose part lies elsewhere, or is no part, is no manifest; nothing is read, moved or removed for it."""
    entry = json.loads((run / ENTRY).read_text(encoding="utf-8"))
    entry["parts"] = [{**entry["parts"][0], **part}]
    (run / ENTRY).write_text(json.dumps(entry), encoding="utf-8")
    # Another entry replaces it, so that its files would be removed.
    before = tree(tmp_path / "victim")

    code, text = answer(summarize.app, str(run))
    take_it_up(run)

    assert (code, tree(tmp_path / "victim")) == (ExitCode.DAMAGED, before)
    assert "no manifest entry" in text


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_part_leads_anywhere_else(table: str, name: str) -> None:
    """Whatever a part is called, it is refused, or it is a file right in the folder of its table."""
    try:
        part = Part(table=table, name=name, rows=1, bytes=1, sha256="0" * 64)
    except ValueError:
        return

    assert part.table in PART_TABLES
    assert Path("/run", part.path).resolve() == Path("/run") / part.table / part.name


@pytest.mark.parametrize("name", ["../victim/precious.parquet", "/etc/passwd", "cells/../../victim/precious.parquet"])
def test_storage_changes_nothing_outside(run: Path, tmp_path: Path, name: str) -> None:
    """Writing, moving and removing under a name that leads out of the run is refused by the storage itself."""
    storage = LocalStorage(run)

    for act in (storage.delete, lambda name: storage.put(name, b""), lambda name: storage.move("spec.json", name)):
        with pytest.raises(StoreError, match="leads out of the run"):
            act(name)

    assert (tmp_path / "victim" / "precious.parquet").read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize("folder", ["cells", "windows", "manifest", "failures", ".tmp"])
def test_linked_folders_are_not_followed(run: Path, tmp_path: Path, folder: str) -> None:
    """A folder of the run that is a link to another place: nothing there is taken for an orphan and removed."""
    shutil.rmtree(run / folder, ignore_errors=True)
    (run / folder).symlink_to(tmp_path / "victim")

    take_it_up(run)

    assert tree(tmp_path / "victim") == {"precious.parquet": b"precious"}


@pytest.mark.parametrize("name", [".lock", "timings.jsonl"])
def test_linked_logs_are_not_followed(run: Path, tmp_path: Path, name: str) -> None:
    """The lock and the log of a run that are links to another file leave that file alone."""
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(tmp_path / "victim" / "precious.parquet")
    storage = LocalStorage(run)

    with pytest.raises(StoreError, match="is a link"), storage.lock({"pid": "1"}):
        storage.append(name, "line\n")

    assert tree(tmp_path / "victim") == {"precious.parquet": b"precious"}


def test_deep_json_is_no_entry(run: Path) -> None:
    """JSON that is nested without end is told as an entry that is none."""
    (run / ENTRY).write_text(DEEP, encoding="utf-8")

    with pytest.raises(StoreError, match="no manifest entry"):
        Manifest(LocalStorage(run)).live()
