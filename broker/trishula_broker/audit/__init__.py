"""The archive of what happened: chained, signed, and read without a hub (docs/decisions/0012)."""
