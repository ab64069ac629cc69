"""Joins a shared folder to a hub for agents that only know files (docs/folder.md)."""
