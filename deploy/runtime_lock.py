"""Prints the part of requirements.lock that a sweep needs: no tools of developers. Reads what `make lock` wrote there.

python deploy/runtime_lock.py requirements.lock pyproject.toml
"""

import re
import sys
import tomllib
from pathlib import Path

BUILD = "-r requirements.in"
"""What the lock calls the file of the build backend, which installs the project itself."""


def needed_entries(lock: str, project: str) -> list[str]:
    """Return the entries of a lock that the project's own dependencies lead to, hashes included."""
    entries = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    needed = {name_of(text) for text in tomllib.loads(project)["project"]["dependencies"]}
    needed |= {name_of(text) for text in entries if BUILD in parents_of(text)}
    size = 0
    while size != len(needed):
        size = len(needed)
        needed |= {name_of(text) for text in entries if parents_of(text) & needed}
    return [text for text in entries if name_of(text) in needed]


def name_of(requirement: str) -> str:
    """Return the normal form of a requirement's name."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]).lower()


def parents_of(entry: str) -> set[str]:
    """Return why an entry is in the lock: the words after `# via`."""
    comments = re.findall(r"^ +#(?: +via)? +(.+)$", entry, flags=re.MULTILINE)
    return {text.strip() for text in comments}


if __name__ == "__main__":
    lock_path, project_path = map(Path, sys.argv[1:])
    sys.stdout.write("".join(needed_entries(lock_path.read_text("utf-8"), project_path.read_text("utf-8"))))
