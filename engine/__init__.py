"""Simulate one batch: any number of policies over one trace of what a guest does.

Public modules: `vocabulary` (the words), `events` and `operations` (the traces), `policies`, `guests`, `workloads`
(the registries) and `simulate` (one call, one batch). This package imports nothing, so that `sweep --help` stays light.
"""
