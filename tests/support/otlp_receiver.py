"""A collector that takes OTLP over HTTP, in a thread, and keeps what it is sent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

WAIT_S = 60.0


class Seen(NamedTuple):
    """One span as it came. Ids are hex; ``parent_id`` is empty for a root."""

    name: str
    node: str
    trace_id: str
    span_id: str
    parent_id: str
    began: int
    ended: int
    failed: str
    attributes: dict[str, Any]


class OtlpReceiver:
    """Listens on a free port of this host.

    Args:
        status: what it answers; other than 200 nothing is kept.
    """

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.seen: list[Seen] = []
        self.requests = 0
        self.paths: set[str] = set()
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver._take(self.path, body)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    async def until(self, there: Callable[[list[Seen]], bool]) -> list[Seen]:
        """All spans, once ``there`` says that they are the ones waited for."""
        await asyncio.to_thread(self._wait, lambda: there(self.seen))
        return list(self.seen)

    async def asked(self, times: int) -> None:
        """Wait for so many requests."""
        await asyncio.to_thread(self._wait, lambda: self.requests >= times)

    def _wait(self, there: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(there, WAIT_S), [each.name for each in self.seen]

    def _take(self, path: str, body: bytes) -> None:
        with self._changed:
            self.requests += 1
            self.paths.add(path)
            if self.status == 200:
                self.seen += _spans(body)
            self._changed.notify_all()


def _spans(body: bytes) -> list[Seen]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        Seen(
            span.name,
            _plain(resource.resource.attributes)["service.instance.id"],
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            span.status.message,
            _plain(span.attributes),
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _plain(attributes: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in attributes
    }
