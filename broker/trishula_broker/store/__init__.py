"""Where the truth is kept: one protocol (:mod:`.base`) and its implementations."""
