"""The hub and the ``broker`` command. docs/architecture.md shows where a message flows."""
