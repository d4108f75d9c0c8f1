"""Which node is which institution: every node proves it with its wallet before it is asked to train."""

import os
import time
from collections.abc import Sequence

from flwr.app import Message
from flwr.serverapp import Grid

from fedchest.federation.messages import IDENTIFY, IdentifyReply, IdentifyRequest
from fedchest.federation.study import Study
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.records import Institution
from fedchest.ledger.wallet import recover_address
from fedchest.refusals import Refused

JOIN_SECONDS, IDENTIFY_SECONDS, POLL_SECONDS = 60.0, 60.0, 1.0


class Roster:
    """Node by institution. A node that proves nothing is never sent a model; two nodes can't share an institution."""

    def __init__(self, study: Study, ledger: Ledger) -> None:
        self._study = study
        self._ledger = ledger
        self._institutions: dict[int, int] = {}
        self._waited = False

    def institution_at(self, node: int) -> int | None:
        """The institution's number that `node` has proved to be, or None."""
        return self._institutions.get(node)

    def nodes_of(self, grid: Grid, members: Sequence[Institution]) -> list[int]:
        """The online nodes of `members`; the first call waits up to a minute for all of them to join."""
        wanted = {member.id for member in members}
        give_up = time.monotonic() + (0.0 if self._waited else JOIN_SECONDS)
        while True:
            online = set(grid.get_node_ids())
            self._identify(grid, sorted(online - self._institutions.keys()))
            nodes = [node for node, institution in self._institutions.items() if institution in wanted]
            present = [node for node in nodes if node in online]
            if len(present) >= len(wanted) or time.monotonic() >= give_up:
                self._waited = True
                return present
            time.sleep(POLL_SECONDS)

    def _identify(self, grid: Grid, nodes: Sequence[int]) -> None:
        if not nodes:
            return
        nonce = os.urandom(32)
        content = IdentifyRequest(nonce).to_record()
        messages = [Message(content, dst_node_id=node, message_type=IDENTIFY) for node in nodes]
        registered = {institution.wallet: institution.id for institution in self._ledger.institutions()}
        for reply in grid.send_and_receive(messages, timeout=IDENTIFY_SECONDS):
            institution = registered.get(self._proved_wallet(reply, nonce) or "")
            node = reply.metadata.src_node_id
            if institution is not None and institution not in self._institutions.values():
                self._institutions[node] = institution

    def _proved_wallet(self, reply: Message, nonce: bytes) -> str | None:
        if reply.has_error():
            return None
        try:
            signature = IdentifyReply.from_record(reply.content).signature
        except Refused:
            return None
        return recover_address(self._study.digest() + nonce, signature)
