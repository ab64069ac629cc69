"""What agents can ask of the hub: one file an operation, listed in :mod:`.table`."""
