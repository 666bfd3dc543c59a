"""One small HTTP server on this machine: metrics, the status page and its panels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from setrade.errors import integer

HTML = "text/html; charset=utf-8"
# Nothing is loaded from anywhere, and no other page may show this one in a frame.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; frame-ancestors 'none'"
)
Route = tuple[str, Callable[[], bytes]]


class Handler(BaseHTTPRequestHandler):
    """Answers GET for a few known paths."""

    routes: Mapping[str, Route] = {}

    def do_GET(self) -> None:
        """Answer 200 with what the path stands for, or 404."""
        route = self.routes.get(self.path.split("?")[0])
        if route is None:
            self.send_error(404)
            return
        try:
            body = route[1]()
        except Exception as error:  # the run goes on; who asks is told
            self.send_error(500, type(error).__name__)
            return
        self.send_response(200)
        for name, value in (
            ("Content-Type", route[0]), ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"), ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
        ):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: standard error belongs to the run."""


def serve(
    registry: CollectorRegistry, page: Callable[[], str], panels: Callable[[], str], port: int
) -> int:
    """Serve ``/metrics``, ``/`` and ``/panels`` on 127.0.0.1 from a thread of its own.

    Args:
        registry: of the metrics. page: makes the whole page; panels: the part that changes.
        port: 0 takes a free one.

    Returns:
        The port.

    Raises:
        ArgumentError: no such port. OSError: it is taken.
    """
    routes: dict[str, Route] = {
        "/": (HTML, lambda: page().encode()),
        "/panels": (HTML, lambda: panels().encode()),
        "/metrics": (CONTENT_TYPE_LATEST, lambda: generate_latest(registry)),
    }
    handler = type("Bound", (Handler,), {"routes": routes})
    server = ThreadingHTTPServer(("127.0.0.1", integer("port", port, 0, 65_535)), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="setrade-status", daemon=True).start()
    return server.server_port
