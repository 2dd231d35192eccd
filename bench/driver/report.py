"""Ratios, bars and the page of results. Knows no server."""

from dataclasses import dataclass
from statistics import median

from load import ALIKE, SATURATED, spread


@dataclass
class Bar:
    """One figure beside what it must be."""
    row: str
    what: str
    figure: str
    bar: str
    passed: bool | None
    remark: str = ""

    @property
    def verdict(self):
        return {True: "pass", False: "**fail**", None: "no verdict"}[self.passed]


def alike(one, other):
    """Whether the machine was the same for both runs."""
    return not one.trouble and not other.trouble and spread((one.hop, other.hop)) <= ALIKE


def pairs(runs, one, other, connections):
    """Each run of `other` with the runs of `one` that lie nearest to it in its round, where the two can be compared: what
    drifts is the same for neighbours."""
    believed = [run for run in runs if run.connections == connections and not run.trouble]
    ours, theirs = ([run for run in believed if run.label == label] for label in (one, other))
    found = []
    for their in theirs:
        distances = [(abs(own.at - their.at), own) for own in ours if own.round == their.round]
        nearest = min((distance for distance, _ in distances), default=None)
        found += [(own, their) for distance, own in distances if distance == nearest and alike(own, their)]
    return found


def ratio_bar(row, what, runs, one, other, connections, figure, bar, at_most=True, labels=None):
    """A bar on the ratio of two labels: the median over all pairs of neighbours that can be believed."""
    name = f"{what}, {connections} connections"
    sign = "≤" if at_most else "≥"
    text = f"{sign} {bar:g} × {(labels or {}).get(other, other)}"
    if not any(run.label == other for run in runs):
        return Bar(row, name, "–", text, None, f"{other} was left out")
    found = pairs(runs, one, other, connections)
    if not found:
        return Bar(row, name, "–", text, None, "no two runs that can be compared")
    ratio = median(figure(ours) / figure(theirs) for ours, theirs in found)
    own, their = (median(figure(pair[side]) for pair in found) for side in (0, 1))
    limited = figure is rate and median(ours.busy for ours, _ in found) < SATURATED
    passed = ratio <= bar if at_most else ratio >= bar
    remarks = [f"{own:,.4g} against {their:,.4g}, {len(found)} pairs"]
    if limited:
        remarks.append("the load was the limit, so it is at least that")
        passed = passed or None
    return Bar(row, name, f"{ratio:.2f}", text, passed, "; ".join(remarks))


def cpu(run):
    return run.cpu_us


def rate(run):
    return run.rate


def p99(run):
    return run.p99_us


def bars_table(bars):
    lines = ["| # | what | figure | bar | | |", "|---|---|---|---|---|---|"]
    lines += [f"| {bar.row} | {bar.what} | {bar.figure} | {bar.bar} | {bar.verdict} | {bar.remark} |" for bar in bars]
    return "\n".join(lines)


def runs_table(runs):
    """Each cell's median over its runs. What is in brackets is the smallest and the largest."""
    lines = ["| server | connections | CPU µs per request | requests/s | p50 ms | p99 ms | its core busy | runs | |",
             "|---|---|---|---|---|---|---|---|---|"]
    for label, connections in dict.fromkeys((run.label, run.connections) for run in runs):
        every = [run for run in runs if (run.label, run.connections) == (label, connections)]
        good = [run for run in every if not run.trouble]
        shown = good or every
        middle = lambda figure: median(map(figure, shown))
        span = f"({min(map(cpu, shown)):.2f}–{max(map(cpu, shown)):.2f})"
        busy = middle(lambda run: run.busy)
        remarks = ["the load was the limit"] if busy < SATURATED else []
        remarks += sorted({run.trouble for run in every if run.trouble})
        lines.append(f"| {label} | {connections} | {middle(cpu):.2f} {span} | {middle(rate):,.0f} | "
                     f"{middle(lambda run: run.p50_us) / 1000:.2f} | {middle(p99) / 1000:.2f} | {busy:.0%} | "
                     f"{len(good)} of {len(every)} | {'; '.join(remarks)} |")
    return "\n".join(lines)


def machine_lines(runs):
    """What the calibration said over the whole time."""
    hops = [hop for run in runs for hop in run.hops]
    spins = [spin for run in runs for pair in run.spins for spin in pair]
    if not hops:
        return "No calibrated run."
    noisy = sum(run.noisy for run in runs)
    return (f"A cache line took {min(hops):.0f} to {max(hops):.0f} ns from core to core (median {median(hops):.0f}), a thousand"
            f" multiplications {min(spins):.0f} to {max(spins):.0f} ns. {noisy} of {len(runs)} runs were too noisy to count.")
