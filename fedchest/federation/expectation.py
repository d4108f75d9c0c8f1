"""Whether what came of a member counts: the one rule that the server applies and the audit applies again."""

from dataclasses import asdict

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedchest.aggregation.check import Expectation, check_update
from fedchest.federation.messages import UpdateReply
from fedchest.federation.study import Study
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.records import Institution, RoundState, Submission
from fedchest.protection.codec import EncodedUpdate, Layout
from fedchest.protection.context import UpdateContext
from fedchest.protection.manifest import Manifest
from fedchest.refusals import Reason, Refused


def expectation(
    study: Study, ledger: Ledger, state: RoundState, member: Institution, layout: Layout
) -> Expectation:
    """The expectation that the server and the audit check a member's update of a round against."""
    dp = study.dp_constants(member.weight_class)
    return Expectation(
        context=UpdateContext(
            chain_id=ledger.chain_id,
            contract=ledger.address,
            round=state.number,
            institution=member.id,
            base_model=state.base_model,
        ),
        study=study.digest(),
        weight_class=member.weight_class,
        epsilon_budget=member.epsilon_budget,
        norm_bound=study.norm_bound,
        layout=layout,
        dp=None if dp is None else asdict(dp),
    )


def accepted_update(
    reply: UpdateReply,
    submission: Submission | None,
    member: Institution,
    expected: Expectation,
    key: X25519PrivateKey,
) -> EncodedUpdate:
    """The update that a member's reply brings, opened with a recipient's `key`.

    Raises Refused with the first reason that applies: another weight than the registered one, nothing on chain,
    or one of `fedchest.aggregation.check`.
    """
    if reply.num_examples != member.weight_class:
        raise Refused(Reason.WEIGHT_MISMATCH)
    if submission is None:
        raise Refused(_why_not_committed(reply.manifest, member.epsilon_budget))
    return check_update(reply.sealed, reply.manifest, submission, expected, key)


def _why_not_committed(manifest: bytes, budget: int) -> Reason:
    """The contract takes no commitment above the budget, so that a spend above it shows in the manifest only."""
    try:
        claimed = Manifest.from_bytes(manifest).epsilon
    except Refused:
        return Reason.NOT_COMMITTED
    return Reason.OVER_BUDGET if claimed > budget else Reason.NOT_COMMITTED
