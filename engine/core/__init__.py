"""The engine's core in C: `engine._core` is the extension, `layout` declares what Python and C share.

Nothing here is imported by `sweep --help`.
"""
