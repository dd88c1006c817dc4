"""Where a run lives, by what a user types: a folder, or the URL of a prefix in an object store."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from results.store.storage import Storage, StoreError

SCHEMES: Final = ("s3", "gs")
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(/?)(.*)", re.DOTALL)


def is_url(location: str | Path) -> bool:
    """Say whether a location is in an object store; a path that swallowed a slash of "s3://" still is."""
    found = _URL.match(str(location))
    return found is not None and (found[1] in SCHEMES or bool(found[2]))


def open_storage(location: str | Path) -> Storage:
    """Return the storage of a run by its path or URL; nothing is read or made yet.

    Raises:
        StoreError: the URL has another scheme, no folder in the bucket, or credentials in it.
    """
    if is_url(location):
        from results.store.objects import ObjectStorage

        return ObjectStorage(checked_url(str(location)))
    from results.store.local import LocalStorage

    return LocalStorage(Path(location))


def checked_url(location: str) -> str:
    """Return the URL of a run in its one spelling.

    Raises:
        StoreError: as `open_storage`.
    """
    found = _URL.match(location)
    assert found is not None
    scheme, _, rest = found.groups()
    parts = urlsplit(f"{scheme}://{rest}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        # The text itself must not be repeated: messages end up in logs.
        raise StoreError(
            f"{scheme}://…: a run's URL has no user, password or query. Give {scheme}://BUCKET/FOLDER, and credentials "
            "in the environment (docs/how-to/use-an-object-store.md)"
        )
    if scheme not in SCHEMES:
        raise StoreError(
            f"{location}: unknown scheme '{scheme}'. Allowed: a path, {', '.join(s + '://' for s in SCHEMES)}"
        )
    folder = "/".join(piece for piece in parts.path.split("/") if piece)
    if not parts.netloc or not folder or ".." in folder.split("/"):
        raise StoreError(f"{location}: no folder of a bucket. Give {scheme}://BUCKET/FOLDER")
    return f"{scheme}://{parts.netloc}/{folder}"
