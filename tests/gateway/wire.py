"""Records the bytes between two programs that speak HTTP/1.1, and reads them back by request.

A `Tap` listens on loopback, hands every byte on as it came, and keeps it. What it kept is read
after the load: the nth answer of a connection is that of its nth request, since nobody here pipelines.
Nothing of the harness reads these bytes, and none of it is used to read them.
"""

import dataclasses
import http.client
import io
import json
import re
import socket
import threading

NONCE = re.compile(rb"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
CHUNK = 65536


@dataclasses.dataclass
class Exchange:
    """One request and its answer. Names of headers are in lower case."""

    path: str
    request: bytes
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)

    def events(self):
        """The JSON values of an event stream, and of what byte line each was read."""
        for line in self.body.splitlines():
            if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                yield line, json.loads(line[5:])


class Tap:
    """Stands before `origin`; `self.origin` is its own."""

    def __init__(self, origin):
        host, port = origin.removeprefix("http://").split(":")
        self.target = host, int(port)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.origin = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        # For each connection what its client and what its server sent.
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return  # stopped
            try:
                server = socket.create_connection(self.target)
            except OSError:
                client.close()
                continue
            kept = bytearray(), bytearray()
            self.connections.append(kept)
            for ends in ((client, server, kept[0]), (server, client, kept[1])):
                ends[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=pump, args=ends, daemon=True).start()

    def stop(self):
        self.listener.close()

    def exchanges(self):
        """What passed so far, by the nonce of the request."""
        found = {}
        for asked, answered in list(self.connections):
            for exchange in read(bytes(asked), bytes(answered)):
                # The last one is this turn's: those before it are quoted in the messages.
                if nonces := NONCE.findall(exchange.request):
                    found.setdefault(nonces[-1].decode(), []).append(exchange)
        return found


def pump(source, sink, kept):
    """Hands bytes on until `source` ends."""
    try:
        while data := source.recv(CHUNK):
            kept += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # One side is gone: so must be the other.
        for end in (source, sink):
            end.close()


class Unclosed(io.BytesIO):
    """Bytes that `http.client` reads as a connection, several answers from one."""

    def makefile(self, _):
        return self

    def close(self):
        pass


def read(asked, answered):
    """The exchanges of a connection."""
    requests, answers = io.BytesIO(asked), Unclosed(answered)
    while first := requests.readline():
        method, path, _ = first.decode().split(" ")
        headers = http.client.parse_headers(requests)
        body = requests.read(int(headers.get("content-length", "0")))
        answer = http.client.HTTPResponse(answers, method=method)
        try:
            answer.begin()
            got = answer.read()
        except (http.client.HTTPException, OSError):
            return  # broken off, or not there yet
        fields = {name.lower(): value for name, value in answer.getheaders()}
        yield Exchange(path, body, answer.status, fields, got)
