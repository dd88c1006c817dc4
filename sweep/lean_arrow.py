"""Lets pyarrow start without pandas, which it would load with its first array: 0.4 s and 40 MB for nothing."""

import sys


class _NoPandas:
    """Answers for the import system that there is no pandas."""

    def find_spec(self, name: str, *_: object) -> None:
        """Refuse pandas alone."""
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


def leave_out_pandas() -> None:
    """Load pyarrow, and let it find no pandas, for as long as this process lives.

    For processes of our own only: afterwards pyarrow's `to_pandas` is an error. Others can still import pandas.
    """
    import pyarrow as pa

    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])  # It looks once, now.
    finally:
        sys.meta_path.remove(finder)
