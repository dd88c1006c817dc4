"""Fills in the files of `sweep/cluster/templates`; every value that is not a plain name is quoted by a filter there."""

import json
import shlex
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """Return the text of a template; a name that has no value is an error."""
    environment = Environment(  # noqa: S701  No page of a browser: what quotes YAML and shells are the filters.
        loader=PackageLoader("sweep.cluster"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"yaml": _yaml, "shell": shlex.quote, "block": _block}
    return environment.get_template(template).render(values)


def _yaml(value: object) -> str:
    """Return a value as a quoted YAML scalar: a JSON string is one, but YAML knows no surrogate pairs."""
    return json.dumps(str(value), ensure_ascii=False)


def _block(text: str, blanks: int) -> str:
    """Return a text as the lines of a YAML block."""
    return "\n".join(f"{' ' * blanks}{line}".rstrip() for line in text.rstrip("\n").split("\n"))
