"""A flood of requests, for tests of the web part: `python -m tests.support.flood PORT SECONDS` prints how many of each status came back.

It sends a thousand requests a second over fifty connections: without a token, with a wrong one, to sign in with a wrong code, for pages.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import sys
import time
from collections import Counter

PER_SECOND = 1000
_CONNECTIONS = 50
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_CODE = b'{"code": "rc_0123456789abcdef_' + b"x" * 43 + b'"}'


def _requests(port: int) -> list[bytes]:
    host = f"Host: 127.0.0.1:{port}\r\n".encode()
    wrong = b"Authorization: Bearer rc_0123456789abcdef_" + b"x" * 43 + b"\r\n"
    sign_in = b"Origin: http://127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (
        port,
        len(_CODE),
    )
    return [
        b"GET /api/v1/people HTTP/1.1\r\n" + host + b"\r\n",
        b"GET /api/v1/events HTTP/1.1\r\n" + host + wrong + b"\r\n",
        b"POST /api/v1/session HTTP/1.1\r\n" + host + sign_in + _CODE,
        b"GET / HTTP/1.1\r\n" + host + b"\r\n",
        b"GET /readyz HTTP/1.1\r\n" + host + b"\r\n",
    ]


async def _send(port: int, number: int, until: float, statuses: Counter[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = itertools.cycle(_requests(port))
    due = time.monotonic() + number / PER_SECOND
    while (now := time.monotonic()) < until:
        if now < due:
            await asyncio.sleep(due - now)  # the pace
        due += _CONNECTIONS / PER_SECOND
        writer.write(next(sent))
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length is not None:
            await reader.readexactly(int(length[1]))
        statuses[int(head.split(b" ", 2)[1])] += 1
    writer.close()


async def _flood(port: int, seconds: float) -> Counter[int]:
    statuses: Counter[int] = Counter()
    until = time.monotonic() + seconds
    await asyncio.gather(*(_send(port, number, until, statuses) for number in range(_CONNECTIONS)))
    return statuses


if __name__ == "__main__":
    os.nice(10)  # it stands for other machines, which take nothing of this one's processors
    print(json.dumps(asyncio.run(_flood(int(sys.argv[1]), float(sys.argv[2])))))  # its output
