"""What a run came to, for people: in the terminal, and as a table for docs/consistency.md."""

from __future__ import annotations

from collections.abc import Iterable

from tests.race.checker import Verdict
from tests.race.plan import Plan

MADE_WRONG = ("broken", "forgetful", "unfenced")
OURS = ("smartcache", *MADE_WRONG)
NAMES = {
    "none": "no cache",
    "smartcache": "djsmartcache",
    "broken": "djsmartcache, tokens after the query",
    "forgetful": "djsmartcache, one bump in ten lost",
    "unfenced": "djsmartcache, sessions without a fence",
    "cacheops": "django-cacheops",
    "cachalot": "django-cachalot",
    "get_or_set": "cache.get_or_set and signals",
}


def name(plan: Plan) -> str:
    parts = [NAMES[plan.adapter]]
    if plan.adapter in OURS:
        parts.append(plan.store)
        if plan.store == "redis":
            parts.append(plan.level or "bounded")
        if plan.late_messages:
            parts.append("with late messages")
    return " ".join(parts)


def seconds(value: float) -> str:
    if value >= 1:
        return f"{value:.1f} s"
    return f"{value * 1000:.1f} ms" if value else "0"


def staleness(verdict: Verdict) -> str:
    """Render p50, p99 and the most."""
    shares = (0.5, 0.99, 1.0)
    return " / ".join(seconds(verdict.percentile(share)) for share in shares)


def linearizable(verdict: Verdict) -> str:
    if not verdict.right:
        return "no"
    if not verdict.linearizable:
        return (
            f"by what was acknowledged ({verdict.inversions} inversions, "
            f"{verdict.overtaken} writes overtaken, before that)"
        )
    return "yes"


def text(plan: Plan, verdict: Verdict) -> str:
    cut, committed = verdict.killed
    lines = [
        f"  reads        {verdict.reads}, {verdict.cached:.1%} of them without the database, "
        f"{verdict.in_sessions} in sessions",
        f"  writes       {verdict.writes} commits, {verdict.rolled_back} rolled back",
        f"  kills        {verdict.kills}, in {cut} writes, {committed} of these committed",
        f"  faults       {verdict.faults}; {verdict.replayed} writes told later, "
        f"{verdict.untold} never",
        f"  late         {verdict.late} (bound {plan.bound:g} s, the latest by "
        f"{seconds(verdict.worst)})",
        f"  stale for ever {verdict.permanent} entries",
        f"  impossible   {verdict.impossible}",
        f"  others saw the older for  {staleness(verdict)} (p50 / p99 / most)",
        f"  errors       {verdict.errors}",
    ]
    if plan.bound == 0:
        lines.append(f"  linearizable {linearizable(verdict)}")
    if verdict.strangers:
        lines.append(f"  changes by nobody: {verdict.strangers}; the test itself is wrong")
    lines += [f"  raised by {what}: {count}" for what, count in sorted(verdict.raised.items())]
    lines += [f"  {kind}: {count}" for kind, count in sorted(verdict.kinds.items())]
    lines += [f"    {example}" for example in verdict.examples]
    return "\n".join(lines)


def table(rows: Iterable[tuple[Plan, Verdict]]) -> str:
    """Render the table of docs/consistency.md."""
    lines = [
        "| cache | reads | without the database | writes | kills | faults | late reads "
        "| the latest by | stale for ever | older value seen, p50 / p99 / most "
        "| calls that raised |",
        "| --- " + "| ---: " * 10 + "|",
    ]
    for plan, verdict in rows:
        cells = (
            name(plan),
            f"{verdict.reads:,}",
            f"{verdict.cached:.1%}",
            f"{verdict.writes:,}",
            str(verdict.kills),
            str(verdict.faults),
            f"{verdict.late:,}",
            seconds(verdict.worst),
            str(verdict.permanent),
            staleness(verdict),
            str(verdict.errors),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
