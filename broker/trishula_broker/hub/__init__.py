"""The hub's core: plain objects that know no sockets, no clock and no randomness."""
