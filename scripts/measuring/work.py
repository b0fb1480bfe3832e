"""The measurements: what is done in a mount, and the figures that come of it.

Each runs in a process of its own and sees a `Place`. Wherever something is written, time goes on until the server
has it: some clients return from `close` before they have sent anything.
"""

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from . import wire
from .machine import Failure
from .server import MIB, Server, Sizes, files_below
from .table import Better, Figure
from .wire import Wire


@dataclass(frozen=True)
class Place:
    """Where a measurement works."""

    folder: str  # of the mount, which shows the bucket
    tree: Path  # local files
    scratch: Path  # an empty local folder
    server: Server
    sizes: Sizes


@dataclass(frozen=True)
class Measurement:
    """Something to measure. `amount`, if the work returns it, says how many of `per` were done, for the costs."""

    name: str
    work: Callable[[Place], dict]
    figures: tuple[Figure, ...]
    per: str
    limit: Callable[[Wire], dict] | None = None  # the same without a mount


def measurements(sizes):
    """All measurements in the order of the table."""
    large, edited = f"{sizes.large // MIB:,} MiB", f"{sizes.edited // MIB} MiB"

    def speed(title):
        return (Figure("speed", title, "MB/s", Better.HIGHER),)

    def rate(title):
        return (Figure("rate", title, "/s", Better.HIGHER),)

    def seconds(title, name="seconds"):
        return (Figure(name, title, "s", Better.LOWER),)

    listing = f"`ls -l` of {sizes.names:,} names"
    return [
        Measurement("seqread", read, speed(f"Read {large} from start to end"), "GiB", wire.read),
        Measurement("par4", read_parallel, speed("Read 4 files at once"), "GiB", wire.read),
        Measurement("seqwrite", write, speed(f"Write {large}"), "GiB", wire.write),
        Measurement("ttfb", first_byte, (Figure("first", "Open a file, read its first byte", "ms", Better.LOWER),),
                    "9 files", wire.first_byte),
        Measurement("ls", list_names, seconds(listing + ", first time", "first") + seconds("– again", "again"),
                    "both", wire.names),
        Measurement("stat", stat, rate("`stat` of one name after the other"), "1,000 names"),
        *(Measurement(f"create_{workers}", create(workers),
                      rate(f"Create files of 4 KiB, {workers} at once"),
                      "1,000 files", wire.creations(workers)) for workers in (1, 16)),
        *(Measurement(f"small_{workers}", read_small(workers), rate(f"Read files of 4 KiB, {workers} at once"),
                      "1,000 files", wire.reads("small/f{}", workers)) for workers in (1, 16)),
        Measurement("cp_in", copy_in, seconds(f"`cp -r` of {sizes.tree} files in"), "all"),
        Measurement("cp_out", copy_out, seconds(f"`cp -r` of {sizes.tree} files out"), "all"),
        Measurement("grep", grep, seconds(f"`grep -r` in {sizes.tree} files"), "all"),
        Measurement("rename", rename, seconds(f"`mv` of a directory of {sizes.small:,}"), "all"),
        Measurement("append", append, seconds(f"Append 1 KiB to {edited}"), "once"),
        Measurement("edit", edit, seconds(f"Change 4 KiB in the middle of {edited}"), "once"),
        *(Measurement(f"random_{jobs}", read_randomly(jobs), rate(f"Random reads of 4 KiB, {jobs} at once"),
                      "1,000 reads", wire.reads("large", jobs)) for jobs in (1, 16)),
    ]


def read(place):
    """dd of the large file."""
    seconds = run("dd", f"if={place.folder}/large", "of=/dev/null", "bs=1M", "status=none")
    return {"speed": place.sizes.large / 1e6 / seconds, "amount": place.sizes.large / 1024 / MIB}


def read_parallel(place):
    """Four sequential readers."""
    result = fio("--rw=read", "--bs=1M", f"--size={place.sizes.large // 4}", "--numjobs=4",
                 "--filename_format=parallel$jobnum", f"--directory={place.folder}")
    return {"speed": result["bw_bytes"] / 1e6, "amount": place.sizes.large / 1024 / MIB}


def write(place):
    """dd with fsync."""
    begun = time.monotonic()
    run("dd", "if=/dev/zero", f"of={place.folder}/out/written", "bs=1M", f"count={place.sizes.large // MIB}",
        "conv=fsync", "status=none")
    until(lambda: place.server.object("out/written").get("bytes") == place.sizes.large)
    seconds = time.monotonic() - begun
    return {"speed": place.sizes.large / 1e6 / seconds, "amount": place.sizes.large / 1024 / MIB}


def first_byte(place):
    """The median over files of 1 MiB, each of which is then read to its end."""
    times = []
    for number in range(9):
        begun = time.monotonic()
        with open(f"{place.folder}/medium/f{number:06}", "rb", buffering=0) as file:
            length = len(file.read(1))
            times.append((time.monotonic() - begun) * 1000)
            while piece := file.read(MIB):
                length += len(piece)
        expect(length == MIB, f"{length} bytes of {MIB}")
    return {"first": median(times)}


def list_names(place):
    """The same directory twice, the first time cold."""
    times = []
    for _ in range(2):
        begun = time.monotonic()
        listed = subprocess.run(["ls", "-l", f"{place.folder}/names"], check=True, stdout=subprocess.PIPE).stdout
        times.append(time.monotonic() - begun)
        names = listed.count(b"\n") - 1
        expect(names == place.sizes.names, f"{names} names of {place.sizes.names}")
    return {"first": times[0], "again": times[1]}


def stat(place):
    """Names that nobody has listed before."""
    names = [f"{place.folder}/names/f{number:06}" for number in range(place.sizes.names)]
    return rate_of(storm(names, os.stat, 1, place.sizes.seconds))


def create(workers):
    """New files, each closed before the next."""

    def work(place):
        os.makedirs(f"{place.folder}/out/new", exist_ok=True)
        content = os.urandom(4096)

        def make(name):
            with open(name, "xb", buffering=0) as file:
                file.write(content)

        names = [f"{place.folder}/out/new/f{number:06}" for number in range(place.sizes.small)]
        begun = time.monotonic()
        count, _ = storm(names, make, workers, place.sizes.seconds)
        until(lambda: place.server.count("out/new/") >= count)
        return rate_of((count, time.monotonic() - begun))

    return work


def read_small(workers):
    """Every file of a directory, whole."""

    def look(name):
        length = len(Path(name).read_bytes())
        expect(length == 4096, f"{length} bytes of 4096")

    def work(place):
        names = [f"{place.folder}/small/f{number:06}" for number in range(place.sizes.small)]
        return rate_of(storm(names, look, workers, place.sizes.seconds))

    return work


def copy_in(place):
    """A tree of files into the mount."""
    begun = time.monotonic()
    run("cp", "-r", str(place.tree), f"{place.folder}/out/tree")
    until(lambda: place.server.count("out/tree/") >= len(files_below(place.tree)))
    return {"seconds": time.monotonic() - begun}


def copy_out(place):
    """The same tree out of the mount; it must come out as it was."""
    copy = place.scratch / "copy"
    seconds = run("cp", "-r", f"{place.folder}/tree", str(copy))
    same = subprocess.run(["diff", "-rq", place.tree, copy], check=False, stdout=subprocess.DEVNULL)
    expect(same.returncode == 0, "what came out is not what was in")
    shutil.rmtree(copy)
    return {"seconds": seconds}


def grep(place):
    """A search that finds nothing, and has to read everything for it."""
    return {"seconds": run("grep", "-r", "this is nowhere", f"{place.folder}/tree", fine=1)}


def rename(place):
    """A directory with all its files."""
    begun = time.monotonic()
    os.rename(f"{place.folder}/out/before", f"{place.folder}/out/after")
    count = place.server.count
    until(lambda: count("out/after/") == place.sizes.small and count("out/before/") == 0)
    return {"seconds": time.monotonic() - begun}


def append(place):
    """A little, to a file that is not small."""
    begun = time.monotonic()
    with open(f"{place.folder}/out/edited", "ab", buffering=0) as file:
        file.write(b"x" * 1024)
    until(lambda: place.server.object("out/edited")["bytes"] == place.sizes.edited + 1024)
    return {"seconds": time.monotonic() - begun}


def edit(place):
    """A little, in the middle of a file that is not small."""
    before = place.server.object("out/edited")["etag"]
    begun = time.monotonic()
    with open(f"{place.folder}/out/edited", "r+b", buffering=0) as file:
        file.seek(place.sizes.edited // 2)
        file.write(b"y" * 4096)
    until(lambda: place.server.object("out/edited")["etag"] != before)
    seconds = time.monotonic() - begun
    expect(place.server.object("out/edited")["bytes"] == place.sizes.edited, "the length changed")
    return {"seconds": seconds}


def read_randomly(jobs):
    """Places that nobody can guess, for a few seconds."""

    def work(place):
        result = fio("--rw=randread", "--bs=4k", f"--numjobs={jobs}", f"--filename={place.folder}/large",
                     f"--size={place.sizes.large}", f"--runtime={place.sizes.seconds}", "--time_based",
                     "--norandommap", "--randrepeat=0")
        return {"rate": result["iops"], "amount": result["total_ios"] / 1000}

    return work


def run(*words, fine=0):
    """Seconds that a command takes. It may end with a code up to `fine`."""
    begun = time.monotonic()
    ended = subprocess.run(words, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seconds = time.monotonic() - begun
    expect(ended.returncode <= fine, f"{words[0]}: " + (ended.stderr.strip().splitlines() or [""])[0].split(": ")[-1])
    return seconds


def fio(*options):
    """What fio says about its reads."""
    words = ["fio", "--name=bench", "--thread", "--ioengine=psync", "--group_reporting", "--output-format=json",
             "--readonly", "--invalidate=1", *options]
    ended = subprocess.run(words, check=False, capture_output=True, text=True)
    expect("{" in ended.stdout, "fio did not begin")
    job = json.loads(ended.stdout[ended.stdout.index("{"):])["jobs"][0]
    expect(job["error"] == 0, os.strerror(job["error"]))
    return job["read"]


def storm(names, do, workers, seconds_max):
    """Does something with every name, until they or the seconds are over. Returns how many it were, and seconds."""
    names, turn = iter(names), threading.Lock()
    begun = time.monotonic()

    def work():
        done = 0
        while time.monotonic() < begun + seconds_max:
            with turn:
                name = next(names, None)
            if name is None:
                break
            do(name)
            done += 1
        return done

    with ThreadPoolExecutor(workers) as pool:
        count = sum(future.result() for future in [pool.submit(work) for _ in range(workers)])
    return count, time.monotonic() - begun


def rate_of(counted):
    """Figures of a storm."""
    count, seconds = counted
    return {"rate": count / seconds, "amount": count / 1000}


def until(reached, seconds_max=60):
    """Waits until the server has what it should have."""
    end = time.monotonic() + seconds_max
    while not reached():
        expect(time.monotonic() < end, f"the server does not have it after {seconds_max} s")
        time.sleep(0.005)


def expect(holds, otherwise):
    """Ends the measurement if something is not as it must be."""
    if not holds:
        raise Failure(otherwise)
