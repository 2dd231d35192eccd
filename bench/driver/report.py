"""Ratios, targets and the page of results."""

from dataclasses import dataclass
from statistics import median

from load import MAX_DRIFT, SATURATED, spread


@dataclass
class Target:
    """A figure and its target."""
    row: str
    what: str
    figure: str
    target: str
    passed: bool | None
    remark: str = ""

    @property
    def verdict(self):
        return {True: "pass", False: "**fail**", None: "no verdict"}[self.passed]


def are_comparable(one, other):
    """Whether both runs are valid and the machine had the same speed."""
    return not one.invalid_reason and not other.invalid_reason and spread((one.hop, other.hop)) <= MAX_DRIFT


def pairs(runs, one, other, connections):
    """Each run of `other` with the nearest runs of `one` in its round, if they are comparable: drift affects neighbours
    alike."""
    believed = [run for run in runs if run.connections == connections and not run.invalid_reason]
    ours, theirs = ([run for run in believed if run.label == label] for label in (one, other))
    found = []
    for their in theirs:
        distances = [(abs(own.at - their.at), own) for own in ours if own.round == their.round]
        nearest = min((distance for distance, _ in distances), default=None)
        found += [(own, their) for distance, own in distances if distance == nearest and are_comparable(own, their)]
    return found


def ratio_target(row, what, runs, one, other, connections, figure, target, at_most=True, labels=None):
    """A target for the ratio of two labels: the median over all comparable pairs."""
    name = f"{what}, {connections} connections"
    sign = "≤" if at_most else "≥"
    text = f"{sign} {target:g} × {(labels or {}).get(other, other)}"
    if not any(run.label == other for run in runs):
        return Target(row, name, "–", text, None, f"{other} was not run")
    found = pairs(runs, one, other, connections)
    if not found:
        return Target(row, name, "–", text, None, "no comparable runs")
    ratio = median(figure(ours) / figure(theirs) for ours, theirs in found)
    own, their = (median(figure(pair[side]) for pair in found) for side in (0, 1))
    limited = figure is rate and median(ours.busy for ours, _ in found) < SATURATED
    passed = ratio <= target if at_most else ratio >= target
    remarks = [f"{own:,.4g} against {their:,.4g}, {len(found)} pairs"]
    if limited:
        remarks.append("limited by the load generator: a lower bound")
        passed = passed or None
    return Target(row, name, f"{ratio:.2f}", text, passed, "; ".join(remarks))


def cpu(run):
    return run.cpu_us


def rate(run):
    return run.rate


def p99(run):
    return run.p99_us


def targets_table(targets):
    lines = ["| row | measurement | result | target | | |", "|---|---|---|---|---|---|"]
    lines += [f"| {target.row} | {target.what} | {target.figure} | {target.target} | {target.verdict} | {target.remark} |" for target in targets]
    return "\n".join(lines)


def runs_table(runs):
    """The median of each cell, and in brackets the range."""
    lines = ["| server | connections | CPU µs per request | requests/s | p50 ms | p99 ms | core busy | runs | |",
             "|---|---|---|---|---|---|---|---|---|"]
    for label, connections in dict.fromkeys((run.label, run.connections) for run in runs):
        every = [run for run in runs if (run.label, run.connections) == (label, connections)]
        good = [run for run in every if not run.invalid_reason]
        shown = good or every
        middle = lambda figure: median(map(figure, shown))
        span = f"({min(map(cpu, shown)):.2f}–{max(map(cpu, shown)):.2f})"
        busy = middle(lambda run: run.busy)
        remarks = ["limited by the load generator"] if busy < SATURATED else []
        remarks += sorted({run.invalid_reason for run in every if run.invalid_reason})
        lines.append(f"| {label} | {connections} | {middle(cpu):.2f} {span} | {middle(rate):,.0f} | "
                     f"{middle(lambda run: run.p50_us) / 1000:.2f} | {middle(p99) / 1000:.2f} | {busy:.0%} | "
                     f"{len(good)} of {len(every)} | {'; '.join(remarks)} |")
    return "\n".join(lines)


def machine_lines(runs):
    """The range of all calibrations."""
    hops = [hop for run in runs for hop in run.hops]
    spins = [spin for run in runs for pair in run.spins for spin in pair]
    if not hops:
        return "No calibrated run."
    noisy = sum(run.noisy for run in runs)
    return (f"A cache line took {min(hops):.0f} to {max(hops):.0f} ns from core to core (median {median(hops):.0f}), a thousand"
            f" multiplications {min(spins):.0f} to {max(spins):.0f} ns. {noisy} of {len(runs)} runs were too noisy.")
