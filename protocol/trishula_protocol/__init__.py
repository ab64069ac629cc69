"""The trishula wire protocol, version 2: envelopes, codecs, addresses, errors, state machines.

Knows no asyncio, no sockets, no files and no clock. Described in docs/protocol.md.
"""
