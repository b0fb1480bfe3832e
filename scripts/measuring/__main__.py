"""The run: every measurement, every client in turn, round after round; then the table."""

import argparse
import dataclasses
import datetime
import json
import os
import signal
import sys
import time
from pathlib import Path

from . import machine, mounts, table
from .server import QUICK, SHAPES, Sizes, make_tree, serving
from .wire import Wire
from .work import Place, measurements

LOOP = SHAPES["loop"]


def options():
    """What was asked for on the command line."""
    names = [measurement.name for measurement in measurements(Sizes())]
    parser = argparse.ArgumentParser(
        prog="scripts/bench", allow_abbrev=False,
        description="Measures s3xmount, s3fs and rclone side by side and prints tables in Markdown.")
    parser.add_argument("--shape", choices=SHAPES, help="only this network; default: both, one after the other")
    parser.add_argument("--tests", type=some_of(names), default=names, help=f"some of: {','.join(names)}")
    parser.add_argument("--clients", type=some_of(mounts.CLIENTS), default=mounts.DEFAULT,
                        help=f"some of: {','.join(mounts.CLIENTS)}; default: {','.join(mounts.DEFAULT)}")
    parser.add_argument("--rounds", type=int, help="default: 3; with --quick 1")
    parser.add_argument("--quick", action="store_true", help="a few minutes: smaller sizes, one round")
    parser.add_argument("--debug", action="store_true", help="the debug build: to try this script, not for figures")
    parser.add_argument("--samples", type=Path, metavar="FILE", help="also writes every sample, as a line of JSON")
    parser.add_argument("--programs", type=json.loads, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def some_of(known):
    """Reads a list with commas, of known names only."""

    def read(text):
        unknown = [name for name in text.split(",") if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}")
        return text.split(",")

    return read


class Run:
    """Everything that the measurements of one run have in common."""

    def __init__(self, asked, server):
        self.asked, self.server = asked, server
        self.sizes = QUICK if asked.quick else Sizes()
        self.measurements = [it for it in measurements(self.sizes) if it.name in asked.tests]
        self.tree = asked.folder / "tree"
        make_tree(self.tree, self.sizes.tree)
        server.fill(self.sizes, self.tree)

    def round(self, shape, measurement):
        """One sample of each client."""
        samples = [self.keep(shape, self.sample(shape, measurement, client)) for client in self.asked.clients]
        if measurement.limit:
            samples.append(self.keep(shape, self.wire_sample(shape, measurement)))
        return samples

    def sample(self, shape, measurement, client):
        """One measurement in a mount of its own."""
        sample = table.Sample(client, measurement.name)
        self.server.prepare(self.sizes)
        machine.drop_page_cache()
        self.server.set_shape(shape)
        try:
            with mounts.mounted(client, self.asked.programs, self.server, self.asked.folder) as mounted:
                place = Place(mounted.folder, self.tree, self.asked.folder / "scratch", self.server, self.sizes)
                watch = machine.Watch(mounted.process, self.server.process)
                sample.figures = machine.bounded(lambda: measurement.work(place), self.sizes.seconds_max)
                seconds, sample.peak_mb, sample.foreign = watch.stop()
                sample.processor_s = seconds / sample.figures.pop("amount", 1)
        except machine.Failure as failure:
            sample.failure = str(failure)
        finally:
            self.server.set_shape(LOOP)
        return sample

    def wire_sample(self, shape, measurement):
        """The same without a mount."""
        self.server.prepare(self.sizes)
        self.server.set_shape(shape)
        watch = machine.Watch(os.getpid(), self.server.process)
        try:
            figures = measurement.limit(Wire(self.server, self.sizes))
        finally:
            self.server.set_shape(LOOP)
        return table.Sample(table.WIRE, measurement.name, figures, foreign=watch.stop()[2])

    def keep(self, shape, sample):
        """Says what came of it, and writes it where it was asked to."""
        figures = ", ".join(f"{name} {table.shown(value)}" for name, value in sample.figures.items())
        say(f"{time.strftime('%H:%M:%S')} {shape.name} {sample.measurement} {sample.client}:"
            f" {sample.failure or figures}" + (" (others at work)" if sample.foreign > table.FOREIGN_MAX else ""))
        if self.asked.samples:
            with open(self.asked.samples, "a", encoding="utf-8") as file:
                file.write(json.dumps({"shape": shape.name, **dataclasses.asdict(sample)}) + "\n")
        return sample

    def whole(self, shape):
        """All rounds of all measurements in one shape; returns the samples."""
        rounds = self.asked.rounds or (1 if self.asked.quick else 3)
        return [sample for measurement in self.measurements for _ in range(rounds)
                for sample in self.round(shape, measurement)]


def report(run, shape, samples):
    """The tables of a shape."""
    clients = [*run.asked.clients, table.WIRE]
    return [
        f"### {shape.title}", "",
        *table.results(run.measurements, clients, samples), "",
        *table.costs(run.measurements, clients, samples), "",
    ]


def say(line):
    """To people; the table alone goes to standard output."""
    print(line, file=sys.stderr, flush=True)


def main():
    # As exceptions they unwind everything: the mount, the client, the server.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    asked = options()
    if not machine.is_root():
        say("Not root: the page cache cannot be dropped. Mounts are cold all the same, for each is a fresh one;"
            " local files are not, which makes cp into the mount look a little faster, for every client.")
    shapes = [SHAPES[asked.shape]] if asked.shape else list(SHAPES.values())
    with serving(asked.programs["bench-server"]) as server:
        run = Run(asked, server)
        samples = {shape: run.whole(shape) for shape in shapes}
    everything = [sample for of_shape in samples.values() for sample in of_shape]
    lines = [f"{datetime.date.today():%-d %B %Y}; {machine.described()}.", *table.legend(everything), ""]
    for shape in shapes:
        lines += report(run, shape, samples[shape])
    print("\n".join(lines), flush=True)
    # Others may fail, and the table tells of it. Ours may not.
    return any(sample.failure for sample in everything if sample.client == table.OURS)


sys.exit(main())
