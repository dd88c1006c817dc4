"""The guest model: layer-1 process operations in, layer-2 page-table events out. Enter through `model.GuestModel`."""
