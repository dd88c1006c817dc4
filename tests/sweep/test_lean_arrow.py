"""What processes of a sweep do not load."""

import subprocess
import sys
from pathlib import Path


def test_arrays_are_made_without_pandas(project: Path) -> None:
    """Where pandas is installed pyarrow does not load it by itself any more; who asks for it still gets it."""
    code = """
import sys
from sweep.lean_arrow import leave_out_pandas
leave_out_pandas()
import pyarrow as pa
pa.table({"texts": ["a"], "numbers": pa.array([1])})
before = "pandas" in sys.modules
import pandas
print(before, pandas.__name__)
"""

    done = subprocess.run([sys.executable, "-c", code], cwd=project, check=True, capture_output=True, text=True)

    assert done.stdout.split() == ["False", "pandas"]
