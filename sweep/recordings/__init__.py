"""Layer-1 and layer-2 traces: reading recordings, storing them, summarising them, and recording new ones."""
