"""A counter is one declaration: the core, the columns, the schema, the prices and the pages follow from it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from engine.vocabulary import COUNTER_NAMES, COUNTERS
from tests.support.project import ROOT

PLACE: Final = '    Counter("guest_touches",'
LINE: Final = '    Counter("new_counter", "ns", "what is new", "a test", since=9, unpriced="part of an exit"),\n'
USE: Final = """
from docs.generate_reference import counters
from engine.core.layout import header
from engine.vocabulary import COUNTER_INDEX
from results.prices.cost_model import cost_model_from_mapping
from results.store.columns import TABLES
from results.store.schema import SCHEMA_VERSION, stored_names, table_schema
from sweep.commands.catalog import _READERS, Section
from sweep.spec.configs import read_costs

at = COUNTER_INDEX["new_counter"]
print("enumeration", f"COUNTER_NEW_COUNTER = {at}," in header(), f"COUNTERS = {at + 1}," in header())
for table in ("cells", "windows", "activities"):
    field = table_schema(table).field("new_counter")
    print(table, TABLES[table][-1].name, field.type, field.nullable, field.metadata[b"unit"].decode())
print("version", SCHEMA_VERSION, "new_counter" in stored_names("cells", 8), "new_counter" in stored_names("cells", 9))
print("price", cost_model_from_mapping(read_costs("nehalem-2011").value).unpriced["new_counter"])
print("catalog", _READERS[Section.COUNTERS]()[-1])

print("page", counters().splitlines()[-1])
"""
FOLLOWS: Final = """\
enumeration True True
cells new_counter int64 True ns
windows new_counter int64 True ns
activities new_counter int64 True ns
version 9 False True
price part of an exit
catalog {'name': 'new_counter', 'summary': 'what is new [ns]'}
page | `new_counter` | ns | what is new | a test | 9 |
"""


def test_a_counter_is_one_line(tmp_path: Path) -> None:
    """One line more in the vocabulary is a counter everywhere; what is left is to count it."""
    for package in ("engine", "results", "sweep", "configs", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    vocabulary = tmp_path / "engine" / "vocabulary.py"
    text = vocabulary.read_text(encoding="utf-8")
    vocabulary.write_text(text.replace(PLACE, LINE + PLACE), encoding="utf-8")

    command = [sys.executable, "-c", USE]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    used = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert used.stdout == FOLLOWS, used.stderr


def test_later_counters_stand_behind_earlier_ones() -> None:
    """No column moves when a counter is added: they stand in the order of the versions that brought them."""
    versions = [counter.since or 1 for counter in COUNTERS]

    assert versions == sorted(versions)
    assert COUNTER_NAMES[:3] == ("exits", "pf_taken", "pf_fixed")
    assert COUNTER_NAMES[23:27] == ("flood_zaps", "misaligned_zaps", "retry_zaps", "rep_iterations")
    assert COUNTER_NAMES[43] == "guest_touches"
