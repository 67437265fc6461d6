"""Stands between the sweep and MLflow on loopback and misbehaves as asked."""

import socket
import threading
import time

BUFFER = 65536


class Proxy:
    """Forwards to a port, connection by connection; `mode` says what happens to those that come from now on.

    pass; hole: accepts and never answers; reset: the request gets through, its answer does not; error: 503 at once;
    garbage: 200 with what is no JSON; slow: the answer comes after `delay_s`.
    """

    def __init__(self, target, delay_s=3.0):
        """Start to listen."""
        self.mode, self._target, self._delay_s = "pass", target, delay_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.seen = 0
        """Connections that met a mode other than pass."""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        """Stop listening."""
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        """Answer the requests of one connection, until either side ends it."""
        client.settimeout(120)
        with client:
            while (request := read_message(client)) is not None:
                mode = self.mode
                self.seen += mode != "pass"
                if mode == "hole":
                    while self.mode == "hole":
                        time.sleep(0.1)
                    return
                if mode in ("error", "garbage"):
                    status, body = ("503 Service Unavailable", b"") if mode == "error" else ("200 OK", b"<html>")
                    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                    client.sendall(head.encode() + body)
                    return
                answer = self._forward(request)
                if mode == "reset" or answer is None:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    return
                if mode == "slow":
                    time.sleep(self._delay_s)
                client.sendall(answer)

    def _forward(self, request):
        try:
            with socket.create_connection(("127.0.0.1", self._target), 30) as server:
                server.settimeout(60)
                server.sendall(request)
                return read_message(server)
        except OSError:
            return None


def read_message(connection):
    """Return one HTTP message with its body, None where the connection ended."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            more = connection.recv(BUFFER)
            if not more:
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        if headers.get(b"transfer-encoding") == b"chunked":
            while not body.endswith(b"0\r\n\r\n"):
                body += connection.recv(BUFFER)
        while len(body) < int(headers.get(b"content-length", 0)):
            more = connection.recv(BUFFER)
            if not more:
                return None
            body += more
    except OSError:
        return None
    return head + b"\r\n\r\n" + body
