"""What a commit can do: operations, and the outcome of each.

Each operation is applied wholly or not at all; :mod:`trishula_broker.store.base` has the rules.
Times are wall-clock milliseconds of the store's clock.
"""
