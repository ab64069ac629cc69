"""What `broker doctor` looks at, before a hub runs and while it does.

Nothing is changed: files are read, one temporary file is written and removed, Redis and the hubs
are asked.
"""
