"""Tables for people: in the terminal and in docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Report:
    """One benchmark's outcome. ``claim`` is what was to be reached, ``reached`` what was measured
    of it."""

    title: str
    columns: Sequence[str]
    claim: str
    rows: list[Sequence[str]] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [f"## {self.title}", "", f"To reach: {self.claim}", ""]
        lines.append("| " + " | ".join(self.columns) + " |")
        lines.append("| --- " + "| ---: " * (len(self.columns) - 1) + "|")
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        lines += ["", *(f"- {line}" for line in self.reached)]
        return "\n".join(lines)


def duration(nanoseconds: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.0f} ns"


def race_report(
    title: str, claim: str, medians: dict[str, float], reference: str, subject: str, limit: float
) -> Report:
    """Medians with their ratio to ``reference``; says whether ``subject`` is within ``limit`` of
    it."""
    report = Report(title, ("contestant", "median", f"over {reference}"), claim)
    for name, nanoseconds in sorted(medians.items(), key=lambda pair: pair[1]):
        report.rows.append((name, duration(nanoseconds), f"{nanoseconds / medians[reference]:.3g}"))
    report.reached.append(against(medians, subject, reference, limit))
    return report


def against(medians: dict[str, float], subject: str, reference: str, limit: float) -> str:
    ratio = medians[subject] / medians[reference]
    verdict = "reached" if ratio <= limit else "NOT reached"
    return f"{subject}: {ratio:.3g}x of {reference} (at most {limit:g}x): {verdict}"
