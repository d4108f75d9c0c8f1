"""The storage layout against the contract's own views, on a real chain."""

import pytest
from studies import CONFIG, StudyOnChain

from fedchest.ledger.storage import LedgerStorage


def compare(study: StudyOnChain) -> None:
    """Every word of it, and what was never written, is as the views tell."""
    ledger = study.coordinator
    storage = LedgerStorage(ledger.snapshot().word)
    assert storage.study() == ledger.rules().study
    institutions = ledger.institutions()
    for institution in institutions:
        assert storage.institution(institution.id) == institution
    assert storage.institution(len(institutions)).weight_class == 0
    for round in range(ledger.current_round() + 2):
        assert storage.round(round) == ledger.round(round)
        assert storage.accepted(round) == ledger.accepted(round)
        submissions = ledger.submissions(round)
        for id in range(len(institutions)):
            committed = submissions[id].commitment if id in submissions else bytes(32)
            assert storage.commitment(round, id) == committed


@pytest.mark.e2e
def test_the_layout_is_the_contracts(study):
    study.finalized_round()
    compare(study)
    study.proposed_round()
    compare(study)


@pytest.mark.e2e
@pytest.mark.parametrize("accepted", [15, 16, 17])
def test_lists_longer_than_a_word(chain, tmp_path, accepted):
    study = StudyOnChain(chain.rpc_url, tmp_path, size=18)
    round = study.coordinator.open_round(CONFIG)
    for institution in range(1, accepted + 1):
        study.submit(institution, round)
    study.propose(round, accepted=range(1, accepted + 1))
    compare(study)


def test_words_that_the_contract_cannot_have_written_are_refused():
    """Above all a list so long that reading it would not end."""
    storage = LedgerStorage(lambda _slot: (1 << 256) - 1)
    with pytest.raises(ValueError, match="accepted updates"):
        storage.accepted(1)
    with pytest.raises(ValueError, match="not a valid Phase"):
        storage.round(1)
