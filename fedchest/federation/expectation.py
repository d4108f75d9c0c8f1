"""What the study, the round and the registration say that a member's update must be."""

from dataclasses import asdict

from fedchest.aggregation.check import Expectation
from fedchest.federation.study import Study
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.records import Institution, RoundState
from fedchest.protection.codec import Layout
from fedchest.protection.context import UpdateContext


def expectation(
    study: Study, ledger: LedgerClient, state: RoundState, member: Institution, layout: Layout
) -> Expectation:
    """The expectation that the server and the audit check a member's update of a round against."""
    dp = study.dp_constants(member.weight_class)
    return Expectation(
        context=UpdateContext(
            chain_id=ledger.chain_id,
            contract=ledger.address,
            round=state.number,
            institution=member.wallet,
            base_model=state.base_model,
        ),
        study=study.digest(),
        weight_class=member.weight_class,
        epsilon_budget=member.epsilon_budget,
        norm_bound=study.norm_bound,
        layout=layout,
        dp=None if dp is None else asdict(dp),
    )
