"""What the network and the server allow at most: the bytes and requests of a measurement, without a mount."""

import http.client
import json
import re
import subprocess
import time
from urllib.parse import quote

from .server import BUCKET, MIB

PART = 8 * MIB
CONNECTIONS = 16


class Wire:
    """The raw client of a server, with sizes to use."""

    def __init__(self, server, sizes):
        self.server, self.sizes = server, sizes

    def get(self, key, part, parts, connections):
        """Seconds for so many requests for parts of an object, or of several where the key has a `{}`."""
        return self._transfer("get", key, part, parts, connections)

    def put(self, key, part, parts, connections):
        """Seconds for so many uploads of parts of an object, or of several where the key has a `{}`."""
        return self._transfer("put", key, part, parts, connections)

    def _transfer(self, direction, key, part, parts, connections):
        words = [self.server.program, direction, self.server.address, key, f"--part={part}", f"--parts={parts}",
                 f"--connections={connections}"]
        ended = subprocess.run(words, check=True, capture_output=True, text=True)
        return json.loads(ended.stdout)["seconds"]


def read(wire):
    """The large file, in parts over many connections."""
    return {"speed": wire.sizes.large / 1e6 / wire.get("large", PART, wire.sizes.large // PART, CONNECTIONS)}


def write(wire):
    """The large file, in parts over many connections."""
    return {"speed": wire.sizes.large / 1e6 / wire.put("out/raw", PART, wire.sizes.large // PART, CONNECTIONS)}


def first_byte(wire):
    """One round trip."""
    return {"first": wire.get("medium/f{}", 1, 9, 1) / 9 * 1000}


def names(wire):
    """The pages of the listing, one after the other, on one connection."""
    connection = http.client.HTTPConnection(wire.server.address)
    begun, token = time.monotonic(), ""
    while True:
        connection.request("GET", f"/{BUCKET}?list-type=2&prefix=names/&delimiter=/{token}")
        document = connection.getresponse().read().decode()
        following = re.search("<NextContinuationToken>(.*?)</NextContinuationToken>", document)
        if not following:
            connection.close()
            return {"first": time.monotonic() - begun}
        token = "&continuation-token=" + quote(following[1], safe="")


def reads(key, connections):
    """Requests for 4 KiB each: all of one object, or of one each where the key has a `{}`."""
    return lambda wire: _rate(wire, wire.get, key, connections)


def creations(connections):
    """Uploads of 4 KiB each."""
    return lambda wire: _rate(wire, wire.put, "out/raw{}", connections)


def _rate(wire, transfer, key, connections):
    # As many as there are files, and never so many that one connection with 20 ms each takes long.
    requests = min(wire.sizes.small, 150 * connections)
    return {"rate": requests / transfer(key, 4096, requests, connections)}
