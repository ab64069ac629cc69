"""The asyncio side of the hub: sockets, time and the store's awaits live here."""
