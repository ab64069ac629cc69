"""Whether a hub keeps the rules of docs/protocol.md: asked from outside, over a raw WebSocket.

Uses neither the SDK nor the hub's own code, so that it does not share their mistakes.
"""
