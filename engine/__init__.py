"""Simulate one batch: up to 64 policies over one trace of what a guest does.

Public modules: `vocabulary` (the words), `events` and `operations` (the traces), `policies`, `guests`, `workloads`
(the registries) and `simulate` (one call, one batch). This package imports nothing, so that `sweep --help` stays light.
"""
