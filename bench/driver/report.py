"""Ratios, targets and the page of results."""

import datetime
from dataclasses import dataclass
from statistics import median

import machine
from load import MAX_DRIFT, SATURATED, spread

# If the ratios of p99 differ by more than this factor, something else than the servers decided them.
MAX_P99_SPREAD = 2


@dataclass
class Target:
    """A figure and its target; `passed` is None without a verdict. A comparison has no target."""
    row: str
    what: str
    figure: str
    target: str
    passed: bool | None
    remark: str = ""

    @property
    def verdict(self):
        return "" if self.target.startswith("–") else {True: "pass", False: "**fail**", None: "no verdict"}[self.passed]


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


def ratio_target(row, what, runs, one, other, connections, figure, target, name=None):
    """A target for the ratio of two labels, or a comparison if it is None: the median over all comparable pairs. A p99 ratio
    counts only pairs that no other work disturbed, and needs two or more that agree for a verdict."""
    what = f"{what}, {connections} connections"
    text = f"{'–' if target is None else f'≤ {target:g}'} × {name or other}"
    if not any(run.label == other for run in runs):
        return Target(row, what, "–", text, None, f"{other} was not run")
    found = pairs(runs, one, other, connections)
    remarks, passed = [], None
    if figure is p99:
        quiet = [pair for pair in found if not pair[0].disturbed and not pair[1].disturbed]
        if len(quiet) < len(found):
            worst = max(max(own.other_work, their.other_work) for own, their in found)
            remarks.append(f"{len(found) - len(quiet)} of {len(found)} pairs left out: other work used up to {worst:.1%} of the machine")
        found = quiet
    if not found:
        return Target(row, what, "–", text, None, "; ".join(["no comparable runs", *remarks]))
    ratios = [figure(ours) / figure(theirs) for ours, theirs in found]
    own, their = (median(figure(pair[side]) for pair in found) for side in (0, 1))
    remarks.insert(0, f"{own:,.4g} against {their:,.4g}, {len(found)} pairs")
    if figure is p99 and len(found) < 2:
        remarks.append("too few for a verdict")
    elif figure is p99 and spread(ratios) > MAX_P99_SPREAD:
        remarks.append(f"they say {min(ratios):.2f} to {max(ratios):.2f}: measure again on a quiet machine")
    elif target is not None:
        passed = median(ratios) <= target
    if figure is rate and median(ours.busy for ours, _ in found) < SATURATED:
        remarks.append("limited by the load generator: a lower bound")
    return Target(row, what, f"{median(ratios):.2f}", text, passed, "; ".join(remarks))


def cpu(run):
    return run.cpu_us


def rate(run):
    return run.rate


def p99(run):
    return run.p99_us


def page(targets, runs, others, skipped, commit):
    """The page of results, in Markdown."""
    targets = sorted(targets, key=lambda target: int(target.row[1:]))
    verdicts = [target.verdict for target in targets]
    parts = [
        f"# Benchmark of {datetime.date.today()}, commit {commit}",
        machine.describe(),
        machine_lines(runs),
        "The server had one core, the load generator and the fake Admin Control the other. Ours wrote its log to a file, as"
        " actix-naive-log did; the other peers write none.",
        f"## Targets\n\n{verdicts.count('pass')} pass, {verdicts.count('**fail**')} fail, {verdicts.count('no verdict')} without"
        " a verdict.",
        "\n".join(["| row | measurement | result | target | | |", "|---|---|---|---|---|---|"]
                  + [f"| {target.row} | {target.what} | {target.figure} | {target.target} | {target.verdict} | {target.remark} |"
                     for target in targets]),
    ]
    for title, lines in (("For comparison with P4", others), ("Not run", skipped)):
        if lines:
            parts.append(f"{title}:\n\n" + "\n".join(f"- {line}" for line in lines))
    if runs:
        parts.append("## Runs\n\nThe median of the runs, and in brackets the range.\n\n" + runs_table(runs))
    return "\n\n".join(parts)


def runs_table(runs):
    lines = ["| server | connections | CPU µs per request | requests/s | p50 ms | p99 ms | core busy | other work | runs | |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for label, connections in dict.fromkeys((run.label, run.connections) for run in runs):
        every = [run for run in runs if (run.label, run.connections) == (label, connections)]
        good = [run for run in every if not run.invalid_reason]
        shown = good or every
        middle = lambda figure: median(map(figure, shown))
        span = lambda figure, form: f"({min(map(figure, shown)):{form}}–{max(map(figure, shown)):{form}})"
        busy = middle(lambda run: run.busy)
        remarks = ["limited by the load generator"] if busy < SATURATED else []
        remarks += sorted({run.invalid_reason for run in every if run.invalid_reason})
        p99_ms = lambda run: p99(run) / 1000
        lines.append(f"| {label} | {connections} | {middle(cpu):.2f} {span(cpu, '.2f')} | {middle(rate):,.0f} | "
                     f"{middle(lambda run: run.p50_us) / 1000:.2f} | {middle(p99_ms):.2f} {span(p99_ms, '.1f')} | {busy:.0%} | "
                     f"{max(run.other_work for run in shown):.1%} | {len(good)} of {len(every)} | {'; '.join(remarks)} |")
    return "\n".join(lines)


def machine_lines(runs):
    """The range of all calibrations."""
    hops = [hop for run in runs for hop in run.hops]
    spins = [spin for run in runs for pair in run.spins for spin in pair]
    if not hops:
        return "No calibrated run."
    noisy, disturbed = sum(run.noisy for run in runs), sum(run.disturbed for run in runs)
    return (f"A cache line took {min(hops):.0f} to {max(hops):.0f} ns from core to core (median {median(hops):.0f}), a thousand"
            f" multiplications {min(spins):.0f} to {max(spins):.0f} ns. Of {len(runs)} runs {noisy} were too noisy, and {disturbed}"
            " too disturbed for a 99th percentile.")
