"""FedAvg over verified updates: Flower's loop, with the chain deciding whose update counts and by what weight."""

from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from fedchest.federation.messages import ATTEST, VOUCH, UpdateReply
from fedchest.ledger.records import Phase, RoundState
from fedchest.refusals import Reason, Refused
from server.coordinator import Coordinator
from server.roster import Roster


class VerifiedFedAvg(FedAvg):
    """Weighted FedAvg whose inputs match the chain: `x' = x + sum_i w_i u_i / sum_i w_i`, `w_i` the weight classes.

    Flower's training phase is a round's distribution, training and submission; its evaluation phase is the
    attestation. What stock FedAvg lets through is closed here: one malformed reply is one refusal, weights
    come from the registry, only registered institutions are asked, every wait is bounded
    (tests/federation/test_attacks.py).
    """

    def __init__(self, coordinator: Coordinator) -> None:
        super().__init__(fraction_evaluate=1.0)
        self._coordinator = coordinator
        self._roster = Roster(coordinator.study, coordinator.ledger)
        self._grid: Grid

    def settle_interrupted_round(self, grid: Grid) -> None:
        """Bring a round that an earlier process left behind to its end: a proposal is attested, anything less void."""
        state = self._coordinator.current_round()
        if state is None or not state.phase.is_live:
            return
        if state.phase.takes_updates:
            self._coordinator.abandon(state)
            return
        messages = self.configure_evaluate(0, ArrayRecord(), ConfigRecord(), grid)
        self.aggregate_evaluate(0, grid.send_and_receive(messages, timeout=self._coordinator.reply_seconds))

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Open a round on chain and hand its base model to the members."""
        state = self._coordinator.open_round()
        nodes = self._roster.nodes_of(grid, self._coordinator.members(state))
        record = self._coordinator.training_message(state).to_record()
        return self._construct_messages(record, nodes, MessageType.TRAIN)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Check the replies, aggregate the accepted ones and propose; the model itself stays with the coordinator."""
        self._coordinator.close_round(self._state(), self._by_institution(replies))
        return None, None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Hand the proposal to the members to be attested; nothing when the round is void already."""
        state = self._state()
        if state.phase is not Phase.PROPOSED:
            return []
        self._grid = grid
        return self._to_members(state, [self._coordinator.proposal_message(state).to_record()], ATTEST)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Let the contract's quorum decide: the answers to the server count for nothing, the votes on chain do.

        Where an accepted institution fell silent and consented to it, the others vouch for its share.
        """
        state = self._state()
        # All at once: one wait for those who hang is all that the deadline leaves.
        opened = [one.to_record() for one in self._coordinator.updates_to_open(state)]
        if opened:
            self._grid.send_and_receive(self._to_members(state, opened, VOUCH))
        self._coordinator.settle(state)
        return None

    def _to_members(self, state: RoundState, contents: Iterable[RecordDict], kind: str) -> list[Message]:
        """Messages that are given up early enough to do something about it before the round's deadline."""
        nodes = self._roster.nodes_of(self._grid, self._coordinator.members(state))
        messages = [m for content in contents for m in self._construct_messages(content, nodes, kind)]
        seconds = self._coordinator.answer_seconds(state)
        for message in messages:
            message.metadata.ttl = seconds
        return messages

    def _state(self) -> RoundState:
        state = self._coordinator.current_round()
        if state is None:
            raise RuntimeError("no round was opened")
        return state

    def _by_institution(self, replies: Iterable[Message]) -> dict[int, UpdateReply | Reason]:
        """The first usable word of each institution; a second reply in its name makes both worthless."""
        found: dict[int, UpdateReply | Reason] = {}
        for message in replies:
            institution = self._roster.institution_at(message.metadata.src_node_id)
            if institution is None or message.has_error():
                continue
            found[institution] = Reason.DUPLICATE if institution in found else _parse(message)
        return found


def _parse(message: Message) -> UpdateReply | Reason:
    try:
        return UpdateReply.from_record(message.content)
    except Refused as refusal:
        return refusal.reason
