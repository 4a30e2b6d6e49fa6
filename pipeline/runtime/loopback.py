"""Pages that this machine alone can reach.

A request must name a loopback host, so that no foreign page can use the server through a name of its own.
"""

import json
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cache.errors import InputError

SECONDS = 30  # that a client may take to send its request
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' blob: data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class LoopbackHandler(BaseHTTPRequestHandler):
    """What each such page does with requests; a subclass answers them."""

    timeout = SECONDS
    server_version = "augcache"
    sys_version = ""

    def is_foreign(self) -> bool:
        """Refuse a request under another name than this machine's own, or from another page."""
        port = int(self.server.server_address[1])  # type: ignore[index]
        hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        origin = self.headers.get("Origin")
        if self.headers.get("Host") in hosts and origin in (None, *(f"http://{host}" for host in hosts)):
            return False
        self.refuse(HTTPStatus.FORBIDDEN, "only this machine's own page may ask")
        return True

    def refuse(self, status: HTTPStatus, what: str) -> None:
        """Say in JSON why there is no answer."""
        self.close_connection = True
        self.send(status, "application/json", json.dumps({"error": what}).encode())

    def send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        """Send content of a media type."""
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server names it
        """Requests are not logged: pipeline/ prints nothing."""


def loopback_server(handler: type[LoopbackHandler], port: int) -> ThreadingHTTPServer:
    """A server on 127.0.0.1; port 0 takes any that is free. Raises InputError if the port is taken."""
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        remedy = "Name another: --port 0 takes any that is free."
        raise InputError("cannot be served on", where=f"port {port}", found=error.strerror, remedy=remedy) from error


def page_server(render: Callable[[], str], port: int) -> ThreadingHTTPServer:
    """A server of one page, which is made anew for each request. Raises InputError if the port is taken."""

    class Handler(LoopbackHandler):
        """Requests for that page."""

        def do_GET(self) -> None:
            """The page, or that there is nothing else."""
            if self.is_foreign():
                return
            if self.path == "/":
                self.send(HTTPStatus.OK, "text/html; charset=utf-8", render().encode())
            else:
                self.refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    return loopback_server(Handler, port)
