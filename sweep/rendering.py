"""Text from the templates of a package, in its folder `templates`."""

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

Filters = Mapping[str, Callable[..., str]]


def render(package: str, template: str, *, filters: Filters | None = None, **values: Any) -> str:
    """Return the text of a template; a name that has no value is an error."""
    environment = Environment(  # noqa: S701  No page of a browser: what quotes YAML and shells are the filters.
        loader=PackageLoader(package),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= filters or {}
    return environment.get_template(template).render(values)
