"""The HTTP API: the hub for operators, monitoring, and tools that have no WebSocket."""
