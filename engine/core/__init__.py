"""The engine's core in C: `engine._core` is the extension, `layout` declares what Python and C share.

Of the modules here, nothing is imported by `sweep --help`.
"""


class CoreError(ImportError):
    """The core was not built, or from other sources; the message says what to do."""
