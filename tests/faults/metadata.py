"""A cloud's metadata service on loopback: AWS's with its tokens, and Google's, and both at their worst."""

import json
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

AWS_TOKEN = "/latest/api/token"  # noqa: S105  (a path)
AWS_NOTICE = "/latest/meta-data/spot/instance-action"
GCP_NOTICE = "/computeMetadata/v1/instance/preempted"
PATIENCE_S = 30


class Metadata:
    """Serves from a thread of its own, also to other processes, until it is closed; there is no notice at first.

    `answers` replaces what a path answers: a status and bytes. While `held`, no request is answered.
    """

    def __init__(self, *, listening=True):
        """Take a port; without `listening` it refuses connections until `listen` is called."""
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.headers: dict[str, str] = {}
        self.requests: list[tuple[str, str]] = []
        self._changed = threading.Condition()
        self._answering = threading.Event()
        self._answering.set()
        self._tokens: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(), bind_and_activate=False)
        self._server.daemon_threads = True
        self._server.server_bind()
        if listening:
            self.listen()

    @property
    def address(self):
        """Return what SWEEP_SPOT_METADATA holds for AWS."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def listen(self):
        """Accept connections from now on."""
        self._server.server_activate()
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        """Let go of whoever waits, and of the port."""
        self._answering.set()
        self._server.shutdown()
        self._server.server_close()

    def announce(self, action="terminate", left_s=120.0):
        """Give notice, on both clouds."""
        when = datetime.fromtimestamp(time.time() + left_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.answers[GCP_NOTICE] = (200, b"TRUE")
        self.answers[AWS_NOTICE] = (200, json.dumps({"action": action, "time": when}).encode())

    def expire(self):
        """Let all tokens that were given out grow old."""
        self._tokens = []

    def hold(self):
        """Answer nothing until `release`."""
        self._answering.clear()

    def release(self):
        """Answer again, those that wait too."""
        self._answering.set()

    def count(self, path=None):
        """Return how many requests have come in, for a path or any."""
        return sum(path in (None, seen) for _, seen in self.requests)

    def asked(self, times, path=None):
        """Wait until so many requests have come in since the beginning, for a path or any."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.count(path) >= times, PATIENCE_S), self.requests

    def _answer(self, method, path, headers):
        with self._changed:
            self.requests.append((method, path))
            self._changed.notify_all()
        self._answering.wait(PATIENCE_S)
        if path == AWS_NOTICE and headers.get("X-aws-ec2-metadata-token") not in self._tokens:
            return 401, b""
        if path == GCP_NOTICE and headers.get("Metadata-Flavor") != "Google":
            return 403, b""
        if path in self.answers:
            return self.answers[path]
        if (method, path) == ("PUT", AWS_TOKEN) and 1 <= int(headers["X-aws-ec2-metadata-token-ttl-seconds"]) <= 21600:
            self._tokens.append(f"token-{len(self.requests)}")
            return 200, self._tokens[-1].encode()
        return (200, b"FALSE") if path == GCP_NOTICE else (404, b"<html>Not Found</html>")

    def _handler(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                status, content = outer._answer(self.command, self.path, self.headers)
                self.send_response(status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = answer

            def log_message(self, *_):
                pass

        return Handler
