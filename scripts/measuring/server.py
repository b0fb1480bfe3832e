"""The server in memory: started, asked, filled, and ended."""

import http.client
import json
import random
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlencode

BUCKET = "bench"
MIB = 1 << 20


@dataclass(frozen=True)
class Shape:
    """A network: its name, milliseconds to the first byte, and bytes per second of a connection (0: no limit)."""

    name: str
    first_byte_ms: int
    bytes_per_second: int
    title: str


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("loop", 0, 0, "Plain loopback"),
        Shape("s3", 20, 90_000_000, "As S3 in the same region: 20 ms to the first byte, 90 MB/s per connection"),
    )
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured with."""

    large: int = 1024 * MIB  # the large file, and all the parallel ones together
    names: int = 10_000
    small: int = 1000  # files of 4 KiB
    tree: int = 300  # files in 20 directories
    edited: int = 100 * MIB
    seconds: int = 8  # the longest that a storm of small operations goes on
    seconds_max: int = 120  # after which a measurement is given up


QUICK = Sizes(large=256 * MIB, names=1000, small=200, tree=60, edited=32 * MIB, seconds=3, seconds_max=40)


class Server:
    """A running server."""

    def __init__(self, program, address, process):
        self.program, self.address, self.process = program, address, process

    @property
    def url(self):
        return f"http://{self.address}"

    def control(self, command, **parameters):
        """Says or asks something that is neither delayed nor counted (server/control.rs)."""
        return json.loads(self._request("GET", f"/_control/{command}?{urlencode(parameters)}"))

    def put(self, key, content):
        """Uploads an object."""
        self._request("PUT", f"/{BUCKET}/{quote(key)}", content)

    def object(self, key):
        """Size (`bytes`) and `etag` of what is stored, empty if nothing is."""
        return self.control("object", key=key) or {}

    def count(self, prefix):
        """How many files lie below a prefix."""
        return self.control("count", prefix=prefix)

    def set_shape(self, shape):
        """Puts the server behind a network."""
        self.control("shape", first_byte_ms=shape.first_byte_ms, bytes_per_second=shape.bytes_per_second)

    def fill(self, sizes, tree):
        """Makes what is only read. `tree` is the folder whose files come along."""
        self.control("fill", key="large", bytes=sizes.large)
        for number in range(4):
            self.control("fill", key=f"parallel{number}", bytes=sizes.large // 4)
        self.control("fill", key="medium/f", bytes=MIB, count=9)
        self.control("fill", key="names/f", bytes=100, count=sizes.names)
        self.control("fill", key="small/f", bytes=4096, count=sizes.small)
        for path in files_below(tree):
            self.put(f"tree/{path.relative_to(tree)}", path.read_bytes())

    def prepare(self, sizes):
        """Makes what is written to, anew for each measurement. What is there for one measurement disturbs no other."""
        self.control("wipe", prefix="out/")
        self.put("out/.keep", b"")
        self.control("fill", key="out/edited", bytes=sizes.edited)
        self.control("fill", key="out/before/f", bytes=4096, count=sizes.small)

    def _request(self, method, target, body=None):
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, target, body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{method} {target}: {answer.status} {content!r}")
        return content


@contextmanager
def serving(program):
    """A server that ends with its standard input: here, or when this process dies."""
    process = subprocess.Popen([program, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               start_new_session=True)
    try:
        address = process.stdout.readline().removeprefix("listening on ").strip()
        yield Server(program, address, process.pid)
    finally:
        process.stdin.close()
        process.wait()


def make_tree(folder, files):
    """Files of text in 20 directories, the same ones every time: most of some KiB, a few of hundreds."""
    chance = random.Random(7)
    for number in range(files):
        directory = folder / f"d{number % 20:02}"
        directory.mkdir(parents=True, exist_ok=True)
        length = min(int(chance.lognormvariate(9.5, 1.7)), 2 * MIB)
        (directory / f"f{number:03}.txt").write_bytes(bytes(chance.choices(b"abcdefghij klmnopq\n", k=length)))


def files_below(folder):
    """All files of a folder, in the same order every time."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
