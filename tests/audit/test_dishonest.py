"""Parties that lie while the run goes on, where chain and attestations can't see it: the audit does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_support import failures
from flwr.app import Context, Message, RecordDict
from small_federation import forge, founded, liar, small_settings

import server.coordinator as coordinator_module
from fedchest.aggregation.fedavg import weighted_sum
from fedchest.audit.report import Report
from fedchest.audit.verify import verify_run
from fedchest.federation.expectation import accepted_update
from fedchest.refusals import Reason, Refused

pytestmark = pytest.mark.e2e

WRONGED, UNDERSTATING = 1, 2


def off_by_one_step(*arguments):
    """The right sum but for one step of one value."""
    total = weighted_sum(*arguments)
    total[0] += 1
    return total


def without_epsilon(message: Message, context: Context) -> RecordDict:
    """A valid update that claims to have cost nothing."""
    return forge(message, context).commit().reply()


@pytest.fixture(scope="module")
def report(
    tmp_path_factory: pytest.TempPathFactory, cohort_folder: Path, image_cache: Path
) -> Iterator[Report]:
    """The audit of a round with a wrong sum, an update refused for no reason, and an epsilon understated."""
    out = tmp_path_factory.mktemp("dishonest") / "run"
    settings = small_settings(cohort_folder, out, image_cache, {"privacy": {"dp": True}})
    with pytest.MonkeyPatch.context() as patch, founded(settings) as federation:
        wronged = federation.ledger.institution(WRONGED).wallet

        def unfair(reply, submission, member, expected, key):
            if member.wallet == wronged:
                raise Refused(Reason.NORM_EXCEEDED)
            return accepted_update(reply, submission, member, expected, key)

        patch.setattr(coordinator_module, "weighted_sum", off_by_one_step)
        patch.setattr(coordinator_module, "accepted_update", unfair)
        federation.run({UNDERSTATING: liar(train=without_epsilon)})
        yield verify_run(federation.directory, rpc_url=federation.rpc_url, keep_going=True)


def test_a_wrong_sum(report):
    found = failures(report)["aggregation"]
    assert found.where["round"] == 1
    assert "add up to another sum" in found.detail


def test_an_update_refused_for_no_reason(report):
    found = failures(report)["refusals"]
    assert found.where == {"round": 1, "institution": WRONGED}
    assert "was refused for NORM_EXCEEDED, the audit finds accepted" in found.detail


def test_an_epsilon_below_the_accountants(report):
    found = failures(report)["epsilon"]
    assert found.where == {"round": 1, "institution": UNDERSTATING}


def test_nothing_else_is_blamed(report):
    assert set(failures(report)) == {"aggregation", "refusals", "epsilon"}
    assert report.exit_status == 1
