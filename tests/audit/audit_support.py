"""What the audit's tests share beside their fixtures."""

from fedchest.audit.report import Outcome, Report, Verdict

LIAR = 3
"""The hospital whose update of the first round arrives changed."""


def failures(report: Report) -> dict[str, Outcome]:
    """The failed outcomes by step."""
    return {outcome.step: outcome for outcome in report.outcomes if outcome.verdict is Verdict.FAILED}
