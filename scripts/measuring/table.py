"""From samples to a table: medians, ratios, and what is said about doubtful figures.

Nothing here touches the machine; `test_table` states what is promised.
"""

from dataclasses import dataclass, field
from enum import Enum
from statistics import median

OURS = "s3xmount"
WIRE = "wire"
FOREIGN_MAX = 0.3  # processors that others may take before a figure is doubtful


class Better(Enum):
    """Which direction of a figure is the good one."""

    HIGHER = "↑"
    LOWER = "↓"


@dataclass(frozen=True)
class Figure:
    """A number that a measurement gives."""

    name: str
    title: str
    unit: str
    better: Better


@dataclass
class Sample:
    """What one client came to in one round of one measurement: figures, or why there are none."""

    client: str
    measurement: str
    figures: dict[str, float] = field(default_factory=dict)
    processor_s: float = 0.0  # of the client, per `Measurement.per`
    peak_mb: float = 0.0  # the most memory that the client had resident
    foreign: float = 0.0  # processors that were taken by neither client, server nor the measuring program
    failure: str = ""


@dataclass(frozen=True)
class Settled:
    """What the samples of several rounds come to."""

    value: float | None
    doubtful: bool = False
    failure: str = ""

    def __str__(self):
        if self.value is None:
            return f"fails: {self.failure}" if self.failure else "–"
        return ("~" if self.doubtful else "") + shown(self.value)


def settle(samples, value):
    """The median of what `value` finds in samples. Quiet rounds count alone, where there are any; one failure is one
    too many to speak of a figure."""
    failure = next((sample.failure for sample in samples if sample.failure), "")
    if failure or not samples:
        return Settled(None, failure=failure)
    quiet = [sample for sample in samples if sample.foreign <= FOREIGN_MAX]
    return Settled(median(value(sample) for sample in quiet or samples), doubtful=not quiet)


def ratio(ours, others, better):
    """How our figure stands to the best of the others; None where either is missing."""
    values = [other.value for other in others if other.value is not None]
    if ours.value is None or not values:
        return None
    best = max(values) if better is Better.HIGHER else min(values)
    return ours.value / best if best else None


def judged(stands, better):
    """A ratio for the table, with the direction that is good, and a word where ours is the worse."""
    if stands is None:
        return "–"
    behind = stands < 1 if better is Better.HIGHER else stands > 1
    return f"{shown(stands)}× {better.value}" + (" **behind**" if behind else "")


def shown(value):
    """Three digits are all that a measurement on a shared machine is good for."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def results(measurements, clients, samples):
    """The table of what each measurement came to."""
    peers = [client for client in clients if client not in (OURS, WIRE)]
    lines = [row("", "unit", *clients, f"{OURS} ÷ best other"), "| --- | --- |" + " ---: |" * (len(clients) + 1)]
    for measurement in measurements:
        for figure in measurement.figures:
            cells = {client: settled_figure(samples, measurement, client, figure) for client in clients}
            stands = ratio(cells.get(OURS, Settled(None)), [cells[peer] for peer in peers], figure.better)
            unit = f"{figure.unit} {figure.better.value}"
            lines.append(row(figure.title, unit, *cells.values(), judged(stands, figure.better)))
    return lines


def costs(measurements, clients, samples):
    """The table of the processor time and the memory that the clients took."""
    clients = [client for client in clients if client != WIRE]
    lines = [row("processor s, peak MB ↓", "per", *clients), "| --- | --- |" + " ---: |" * len(clients)]
    for measurement in measurements:
        cells = []
        for client in clients:
            chosen = chosen_samples(samples, measurement, client)
            seconds = settle(chosen, lambda sample: sample.processor_s)
            peak = settle(chosen, lambda sample: sample.peak_mb)
            cells.append("–" if seconds.value is None else f"{seconds}, {peak.value:.0f}")
        lines.append(row(measurement.figures[0].title, measurement.per, *cells))
    return lines


def settled_figure(samples, measurement, client, figure):
    """What a client came to in a figure."""
    chosen = chosen_samples(samples, measurement, client)
    if any(figure.name not in sample.figures and not sample.failure for sample in chosen):
        return Settled(None)
    return settle(chosen, lambda sample: sample.figures[figure.name])


def chosen_samples(samples, measurement, client):
    """The samples of a client in a measurement."""
    return [it for it in samples if it.client == client and it.measurement == measurement.name]


def row(*cells):
    """A row of Markdown."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def legend(samples):
    """What a reader has to know of the marks that occur."""
    lines = [
        "Medians. ↑ higher is better, ↓ lower is better. What is written counts as written when the server has it."
        " `wire` is the machine's limit for the same bytes or requests, without a mount."
    ]
    if any(sample.foreign > FOREIGN_MAX for sample in samples):
        worst = max(sample.foreign for sample in samples)
        lines.append(
            f"Other programs were at work (at worst {worst:.1f} processors). Rounds in which they took more than"
            f" {FOREIGN_MAX} are left out; where all did, the figure has a ~: do not rely on it."
        )
    return lines
