"""A hospital whose epsilon is used up or unknown stops training and still attests; the round goes on without it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict
from small_federation import liar

from fedchest.accounting.cohort_ledger import CohortLedger
from fedchest.federation.apps import client_app
from fedchest.federation.directory import SITE, SiteDocument, read_document, write_document
from fedchest.federation.messages import ModelMessage
from fedchest.ledger.records import REQUIRED_CHECKS, Phase
from fedchest.refusals import Reason

pytestmark = pytest.mark.e2e


def ledger_file(folder: Path) -> Path:
    document = read_document(folder / SITE, SiteDocument)
    with CohortLedger.open(document.epsilon_ledger, document.patients) as ledger:
        return ledger.path


def before_round_2(act: Callable[[], object]) -> Callable[[Message, Context], RecordDict]:
    """Train honestly, after `act` was done to the hospital's files."""

    def train(message: Message, context: Context) -> RecordDict:
        if ModelMessage.from_record(message.content).round == 2:
            act()
        return client_app()(message, context).content

    return train


def test_budget_exhausted_ledger_missing_and_ledger_older(make_federation):
    """Three of four stop in round 2, each for its reason: none of them disagrees, so the round is finalized."""
    federation = make_federation(training={"rounds": 2}, privacy={"dp": True})
    exhausted, missing, older = (federation.directory.institution(number) for number in (1, 2, 3))
    document = read_document(exhausted / SITE, SiteDocument)
    write_document(exhausted / SITE, document.model_copy(update={"epsilon_budget": 6.5}))
    lost, restored = ledger_file(missing), ledger_file(older)
    empty = restored.read_bytes()

    federation.run(
        {
            2: liar(train=before_round_2(lost.unlink)),
            3: liar(train=before_round_2(lambda: restored.write_bytes(empty))),
        }
    )

    assert federation.refusals(1) == {}
    assert federation.refusals(2) == {
        1: Reason.BUDGET_EXHAUSTED,
        2: Reason.BUDGET_STATE,
        3: Reason.BUDGET_STATE,
    }
    assert federation.ledger.accepted(2) == (0,)
    assert federation.checks(2) == dict.fromkeys(range(4), REQUIRED_CHECKS)
    assert federation.state(2).phase is Phase.FINALIZED
    spent = [institution.epsilon_spent for institution in federation.ledger.institutions()]
    assert spent[0] > spent[1] == spent[2] == spent[3] > 0
