"""A round whose credits follow contribution, on a real chain; and every lie about it, named."""

import pytest

from fedchest.aggregation.record import RoundRecord
from fedchest.audit.verify import verify_run

pytestmark = pytest.mark.e2e


def test_a(make_scored):
    federation = make_scored()
    federation.run()
    state = federation.state()
    record = RoundRecord.from_bytes(federation.directory.artifacts.get(state.record))
    print(record.contribution, state.phase)
    print(federation.ledger.scores(1), [i.credits for i in federation.ledger.institutions()])
    report = verify_run(federation.directory, rpc_url=federation.rpc_url, keep_going=True)
    for o in report.outcomes:
        print(o.step, o.verdict, o.detail)
    raise AssertionError
