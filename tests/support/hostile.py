"""Requests that nobody should send: bodies, headers and framings, and what each is to be answered with."""

from __future__ import annotations

import gzip
import json
import socket
import time
from dataclasses import dataclass
from typing import Any

MAX_BODY = 200_000
"""What the server under attack takes (--max-body)."""

JSON = "Content-Type: application/json"
GOOD = b'{"prompt": "a"}'
INSIDE = ("Traceback", 'File "', ".py", "site-packages", "sqlite", "/etc/very")
"""What no answer may hold."""


@dataclass(frozen=True, slots=True)
class Hostile:
    """A request as it goes over the wire, and the status of its answer. ends: the client sends nothing after it."""

    raw: bytes
    status: int
    ends: bool = False


def post(body: bytes, status: int = 400, *headers: str, length: int | None = None, ends: bool = False) -> Hostile:
    """POST /generate. headers: in place of the JSON media type; length: in place of the true one."""
    lines = ["POST /generate HTTP/1.1", "Host: localhost", *(headers or (JSON,))]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return Hostile("\r\n".join([*lines, "", ""]).encode("latin-1") + body, status, ends)


def chunked(chunks: bytes, status: int = 400, ends: bool = False) -> Hostile:
    """POST /generate in chunks."""
    head = f"POST /generate HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return Hostile(head.encode() + chunks, status, ends)


def chunk(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def get(path: str, status: int, *headers: str) -> Hostile:
    """GET."""
    return Hostile("\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode("latin-1"), status)


def with_value(value: bytes) -> bytes:
    """A body whose argument `anything` is that text."""
    return b'{"prompt": "a", "anything": ' + value + b"}"


def padded(size: int) -> bytes:
    """A sound body of that many bytes, refused by the schema: the prompt is too long."""
    return json.dumps({"prompt": "a" * (size - len('{"prompt": ""}'))}).encode()


BODIES = {
    "nothing": post(b""),
    "an array": post(b"[]"),
    "NaN": post(with_value(b"NaN")),
    "Infinity": post(with_value(b"-Infinity")),
    "a number beyond floats": post(with_value(b"1e400")),
    "a huge integer": post(with_value(b"9" * 5000)),
    "a large integer": post(with_value(b"9" * 400)),
    "an integer for a float": post(b'{"prompt": "a", "scale": 1' + b"0" * 310 + b"}"),
    "a negative zero": post(b'{"prompt": "a", "scale": -0.0}'),
    "latin-1": post('{"prompt": "é"}'.encode("latin-1")),
    "utf-16": post('{"prompt": "a"}'.encode("utf-16")),
    "utf-16 that is declared": post('{"prompt": "a"}'.encode("utf-16"), 400, JSON + "; charset=utf-16"),
    "utf-32": post('{"prompt": "a"}'.encode("utf-32-le")),
    "a byte order mark": post(b"\xef\xbb\xbf" + GOOD),
    "overlong utf-8": post(b'{"prompt": "\xc0\x80"}'),
    "a surrogate in utf-8": post(b'{"prompt": "\xed\xa0\x80"}'),
    "a lone surrogate": post(b'{"prompt": "\\ud800"}'),
    "a lone surrogate as a name": post(b'{"\\udfff": 1, "prompt": "a"}'),
    "a lone surrogate twice": post(b'{"\\udfff": 1, "\\udfff": 2}'),
    "a control character": post(b'{"prompt": "a\x01"}'),
    "NUL between": post(b'{"prompt":\x00"a"}'),
    "NUL in a path": post(b'{"prompt": "a", "output_path": "a\\u0000.png"}'),
    "a path outside": post(b'{"prompt": "a", "output_path": "../../outside.png"}'),
    "an absolute path": post(b'{"prompt": "a", "output_path": "/tmp/outside.png"}'),
    "a path that is too long": post(json.dumps({"prompt": "a", "output_path": "a/" * 4000}).encode()),
    "one name twice": post(b'{"prompt": "a", "prompt": "b"}'),
    "one name twice, deeper": post(with_value(b'{"x": 1, "x": 2}')),
    "deep arrays": post(with_value(b"[" * 90_000 + b"]" * 90_000)),
    "deep arrays, open": post(b"[" * 199_000),
    "deep objects": post(with_value(b'{"a":' * 30_000 + b"1" + b"}" * 30_000)),
    "many arrays": post(with_value(b"[" + b"[]," * 60_000 + b"[]]")),
    "many strings": post(with_value(b"[" + b'"",' * 60_000 + b'""]')),
    "many names": post(json.dumps({f"n{number}": 1 for number in range(10_000)}).encode()),
    "open strings": post(b'"\\"' * 60_000),
    "not an object at the end": post(GOOD + b"x"),
    "two bodies": post(GOOD + GOOD),
    "nearly too large": post(padded(MAX_BODY)),
    "too large": post(padded(MAX_BODY + 1), 413),
    "far too large": post(padded(4 * MAX_BODY), 413),
    "said to be endless": post(GOOD, 413, length=10**15),
    "form": post(b"prompt=a", 415, "Content-Type: application/x-www-form-urlencoded"),
    "text": post(GOOD, 415, "Content-Type: text/plain"),
    "no media type": post(GOOD, 415, "X-A: b"),
    "a media type of no sense": post(GOOD, 415, "Content-Type: ;;;=\xff"),
    "gzip": post(gzip.compress(GOOD), 415, JSON, "Content-Encoding: gzip"),
    "gzip that is none": post(GOOD, 415, JSON, "Content-Encoding: gzip"),
    "an unknown coding": post(GOOD, 415, JSON, "Content-Encoding: x"),
}

FRAMES = {
    "shorter than said": post(GOOD, length=100, ends=True),
    "longer than said": post(GOOD, length=5),
    "a length below zero": post(GOOD, length=-5),
    "two lengths": post(GOOD, 400, JSON, "Content-Length: 3"),
    "a length of no sense": post(b"", 400, JSON, "Content-Length: \xb2"),
    "length and chunks": post(GOOD, 400, JSON, "Transfer-Encoding: chunked"),
    "chunks, too large": chunked(chunk(padded(MAX_BODY + 1)) + chunk(b""), 413),
    "many chunks, too large": chunked(chunk(b" " * 1000) * (MAX_BODY // 1000 + 1) + chunk(b""), 413),
    "chunks of one byte": chunked(b"".join(chunk(b"[") for _ in range(20_000)) + chunk(b"")),
    "a chunk of no size": chunked(b"zz\r\n{}\r\n0\r\n\r\n"),
    "a chunk of a huge size": chunked(b"f" * 300 + b"\r\n{}", ends=True),
    "a chunk that ends early": chunked(b"ff\r\n{}", ends=True),
    "a chunk without an end": chunked(b"2\r\n{}xx0\r\n\r\n"),
    "chunks that end early": chunked(chunk(GOOD), ends=True),
    "a trailer of no sense": chunked(chunk(GOOD) + b"0\r\nno sense\r\n\r\n"),
    "an unknown transfer coding": post(GOOD, 501, JSON, "Transfer-Encoding: x"),
    "an unknown expectation": post(GOOD, 417, JSON, "Expect: x"),
    "no http": Hostile(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "another version": Hostile(b"GET / HTTP/3.0\r\n\r\n", 400),
    "a long line": get("/" + "a" * 9000, 414),
    "many headers": get("/", 431, *(f"X-{number}: a" for number in range(200))),
    "a long header": get("/", 431, "X-A: " + "a" * 9000),
    "a header without a name": get("/", 400, ": a"),
    "a folded header": get("/", 400, "X-A: a\r\n b"),
    "no host": Hostile(b"GET / HTTP/1.1\r\n\r\n", 400),
    "an empty host": Hostile(b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "two hosts": get("/", 400, "Host: localhost"),
    "a host of no sense": Hostile(b"GET / HTTP/1.1\r\nHost: a/b@c\r\n\r\n", 400),
    "a host of no sense in bytes": Hostile(b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n", 400),
    "a host in the request line": Hostile(b"GET http://evil.example/ HTTP/1.1\r\n\r\n", 400),
    "another host": Hostile(b"POST /cancel HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
    "another host, forwarded": Hostile(
        b"GET / HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost\r\n\r\n", 421
    ),
    "a page of another origin": post(GOOD, 403, JSON, "Origin: http://evil.example"),
    "a page of another site": post(GOOD, 403, JSON, "Sec-Fetch-Site: cross-site"),
}

VALUES = {
    "Idempotency-Key": ["", "a b", "\xe9", "a" * 256, "a" * 8000],
    "Job-TTL": ["", "0", "-1s", "1e9", "nan", "inf", "1 year", "\xb2s", "9" * 400, "36501d", "1" * 8000],
    "Job-Deadline": [
        *("", "now", "0", "2030-01-31", "2030-01-31T12:00:00", "2001-01-31T12:00:00Z", "9999-99-99T99:99:99Z"),
        *("0001-01-01T00:00:00+23:59", "2030-01-31T12:00:00+99:99", "9" * 8000),
    ],
    "Job-Priority": ["", "urgent", "1", "high,low", "\xb2", "a" * 8000],
    "Job-Target": ["", "0", "-1s", "1e9", "nan", "2030-01-31", "2001-01-31T12:00:00Z", "36501d", "1" * 8000],
}
HEADERS = {
    f"{name}: {value[:30]}": post(GOOD, 400, JSON, f"{name}: {value}") for name in VALUES for value in VALUES[name]
}
HEADERS |= {f"a long {name}": post(GOOD, 431, JSON, f"{name}: {'a' * 9000}") for name in VALUES}
HEADERS["both a TTL and a deadline"] = post(GOOD, 400, JSON, "Job-TTL: 5m", "Job-Deadline: 2130-01-31T12:00:00Z")
HEADERS["a key with a deep body"] = post(with_value(b"[" * 900 + b"]" * 900), 400, JSON, "Idempotency-Key: deep")
HEADERS["a path of its own"] = Hostile(post(b"", 400, JSON, "SCRIPT_NAME: /x").raw, 400)

IDS = ["x", "a" * 65, "%00", "%ff", "..%2f..%2fetc", "%2e%2e%2fjobs", "..%5c..", "%c0%ae", "a%0d%0aX-A:b", "a" * 4000]
WAITS = ["", "x", "-1", "61", "nan", "1e400", "%00", "9" * 4000]
PATHS = {f"/{route}/{i[:20]}": get(f"/{route}/{i}", 404) for route in ("request_status", "outputs") for i in IDS}
PATHS |= {path: get(path, 404) for path in ("/request_status//ab", "/healthz/", "//elsewhere.example/..", "/%00")}
PATHS |= {f"wait={wait[:20]}": get(f"/get_output/ab?wait={wait}", 400) for wait in WAITS}

ALL = {**BODIES, **FRAMES, **HEADERS, **PATHS}


def answer_to(port: int, request: Hostile, deadline: float = 10) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer; the time within which it must come is in seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=deadline) as connection:
        began = time.monotonic()
        try:
            connection.sendall(request.raw)
            if request.ends:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server has said what it thinks before all was sent
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer) < expected(answer):
            block = connection.recv(1 << 16)
            assert block, f"the connection ended after {answer!r}"
            answer += block
        assert time.monotonic() - began < deadline
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return int(lines[0].split()[1]), headers, body[: int(headers["content-length"])]


def expected(answer: bytes) -> int:
    """How long the whole answer is, as far as its head is there."""
    head, found, _ = answer.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return len(head) + 4 + int(lengths[0].split(b":")[1]) if found and lengths else len(answer) + 1


def check_refused(port: int, request: Hostile) -> dict[str, Any]:
    """The problem that such a request is answered with, soon, and in the form of all problems."""
    status, headers, body = answer_to(port, request)
    assert status == request.status, body
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "frame-ancestors 'none'"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    problem: dict[str, Any] = json.loads(body)
    assert problem["status"] == status and problem["title"] and problem["detail"]
    assert not [inside for inside in INSIDE if inside in body.decode()], body
    return problem
