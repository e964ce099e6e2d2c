"""What no proper client sends, and what the public listener must refuse."""

from __future__ import annotations

from tests.integration.http_items import LIMITS, request

NOT_HTTP = {
    "a greeting of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a word": b"HELO\r\n\r\n",
    "a byte that is no method": b"\x00" * 100,
    "NUL in a header": request("/webhooks", "x: a\0b"),
    "NUL in the path": request("/web\0hooks"),
    "a path that is not ASCII": "GET /\u00e9 HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "a folded header": request("/webhooks", "x: a\r\n b"),
    "a space before the colon": request("/webhooks", "x : a"),
    "a header without a name": request("/webhooks", ": a"),
    "a bare CR": request("/webhooks", "x: a\rb: c"),
    "lines that end with LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "length and chunks": request("/webhooks", "Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunks and length": request("/webhooks", "Transfer-Encoding: chunked", "Content-Length: 5", body=b"0\r\n\r\n"),
    "two lengths": request("/webhooks", "Content-Length: 1", "Content-Length: 2", body=b"xx"),
    "a list of lengths": request("/webhooks", "Content-Length: 1, 1", body=b"x"),
    "a length with a sign": request("/webhooks", "Content-Length: +1", body=b"x"),
    "a negative length": request("/webhooks", "Content-Length: -1", body=b"x"),
    "a length beyond numbers": request("/webhooks", "Content-Length: " + "9" * 30),
    "chunks twice": request("/webhooks", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunks within gzip": request("/webhooks", "Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "an encoding that is none": request("/webhooks", "Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "an encoding with a tab": request("/webhooks", "Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": request("/webhooks", "Host: there"),
    "no host in the address": b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
    "no path at all": b"GET http://here HTTP/1.1\r\nHost: a\r\n\r\n",
    "a path without its slash": b"GET webhooks HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tunnel": b"CONNECT here:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "the greeting of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
BAD_CHUNKS = {
    "a negative size": b"-1\r\nx\r\n",
    "a size beyond numbers": b"f" * 17 + b"\r\nx\r\n",
    "a size with 0x": b"0x1\r\nx\r\n",
    "a size that ends with LF": b"1\nx\r\n0\r\n\r\n",
    "more than its size": b"1\r\nxyz\r\n0\r\n\r\n",
}

TOO_LARGE = {
    "a header of 1 MB": request("/webhooks", "x: " + "a" * 1_000_000),
    "a header's name of 1 MB": request("/webhooks", "x" * 1_000_000 + ": a"),
    "many headers": request("/webhooks", *(f"x{number}: a" for number in range(100_000))),
    "a request line without end": b"GET /" + b"a" * 1_000_000,
    "empty lines without end": b"\r\n" * 500_000,
    "just over the limit": request("/webhooks", "x: " + "a" * LIMITS.header_bytes),
}
