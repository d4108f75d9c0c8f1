"""The storage layout against the contract's own views, on a chain that holds every outcome of a round."""

import pytest
from studies import StudyOnChain

from fedchest.ledger.storage import LedgerStorage

pytestmark = pytest.mark.e2e


def storage(study: StudyOnChain) -> LedgerStorage:
    return LedgerStorage(study.coordinator.snapshot().word)


def test_the_layout_gives_what_the_views_give(study):
    study.finalized_round()
    study.proposed_round()
    ledger = study.coordinator
    found = storage(study)
    assert found.coordinator() == ledger.coordinator()
    assert found.study() == ledger.rules().study
    for institution in ledger.institutions():
        assert found.institution(institution.id) == institution
    for number in range(4):
        assert found.round(number) == ledger.round(number)
        assert found.accepted(number) == ledger.accepted(number)
        for id in range(5):
            submission = ledger.submission(number, id)
            assert found.commitment(number, id) == (submission.commitment if submission else bytes(32))
