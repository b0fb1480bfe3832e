"""This machine: its page cache, what processes took, and who else is at work."""

import multiprocessing
import os
import platform
import signal
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """Why a measurement gives no figure, in words for the table."""


def is_root():
    """Only root may drop the page cache."""
    return os.geteuid() == 0


def drop_page_cache():
    """Makes files be read anew. What a fresh mount serves is cold even without; local files are not."""
    os.sync()
    if is_root():
        Path("/proc/sys/vm/drop_caches").write_text("3")


def described():
    """The kind of machine, without its name."""
    return f"{os.cpu_count()} processors, Linux {platform.release().split('-')[0]} ({platform.machine()}), loopback"


def taken_by(process):
    """Processor seconds and peak resident MB of a process and its children."""
    seconds, peak_kb = 0.0, 0
    try:
        times = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        seconds = (int(times[11]) + int(times[12])) / TICKS
        status = Path(f"/proc/{process}/status").read_text().splitlines()
        peak_kb = next((int(line.split()[1]) for line in status if line.startswith("VmHWM")), 0)
        children = [child for thread in Path(f"/proc/{process}/task").iterdir()
                    for child in (thread / "children").read_text().split()]
    except OSError:
        children = []  # it has ended
    for child in children:
        more_seconds, more_mb = taken_by(child)
        seconds, peak_kb = seconds + more_seconds, peak_kb + more_mb * 1024
    return seconds, peak_kb / 1024


class Watch:
    """What a client takes, and what others take besides, between two moments."""

    def __init__(self, client, server):
        self.client, self.server = client, server
        self.begun = time.monotonic()
        self.before = self._now()

    def stop(self):
        """Processor seconds of the client, its peak MB, and the processors that were taken by others."""
        client, server, own, everybody = (now - then for now, then in zip(self._now(), self.before))
        seconds = time.monotonic() - self.begun
        return client, taken_by(self.client)[1], max(0.0, everybody - client - server - own) / max(seconds, 0.1)

    def _now(self):
        # user, nice, system, irq and softirq; neither idle nor waiting.
        everybody = Path("/proc/stat").read_text().split(maxsplit=9)
        everybody = sum(int(everybody[column]) for column in (1, 2, 3, 6, 7)) / TICKS
        return taken_by(self.client)[0], taken_by(self.server)[0], sum(os.times()[:4]), everybody


def bounded(work, seconds):
    """What `work` returns, done in a process of its own that is ended after so many seconds: a mount may hang."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_report, args=(work, theirs))
    process.start()
    theirs.close()
    try:
        if not ours.poll(seconds):
            raise Failure(f"over {seconds} s")
        result = ours.recv()
    except EOFError:
        raise Failure("the measuring process died") from None
    finally:
        if process.is_alive():
            process.join(1)
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
    if isinstance(result, Failure):
        raise result
    return result


def _report(work, to):
    os.setsid()  # so that what it started ends with it
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    try:
        to.send(work())
    except Failure as failure:
        to.send(failure)
    except OSError as error:
        to.send(Failure(error.strerror or str(error)))
