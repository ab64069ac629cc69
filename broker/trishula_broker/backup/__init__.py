"""Backups: one file of what a store had at a moment, made beside traffic (docs/backup.md)."""
