"""A run that is killed at a chosen moment of its second round, in a process of its own."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedchest.runtime import prepare as quiet_frameworks

quiet_frameworks()

import torch  # noqa: E402

from fedchest.federation.apps import client_app, server_app  # noqa: E402
from fedchest.federation.config import Settings  # noqa: E402
from fedchest.federation.simulate import simulate  # noqa: E402
from fedchest.federation.trainer import LocalTrainer  # noqa: E402
from fedchest.ledger.chain import LocalChain  # noqa: E402
from fedchest.ledger.ledger import Ledger  # noqa: E402
from fedchest.ledger.records import UpdateCommitment  # noqa: E402

client_app()  # imported here, once, for all the processes that are forked with this module loaded
server_app()

ROUND = 2
CALLS = {
    "training": (LocalTrainer, "train"),
    "submission": (Ledger, "submit_update"),
    "proposal": (Ledger, "propose"),
    "attestation": (Ledger, "attest"),
    "evaluation": (Ledger, "global_model"),
}


def run_and_die(
    settings: Settings, call: str, occurrence: int, before: bool, victim: str, note: Path
) -> None:
    """Simulate, and kill `victim` ("self" or "chain") before or after an occurrence of `call` in round 2."""
    torch.set_num_threads(1)
    kind, name = CALLS[call]
    original: Callable[..., Any] = getattr(kind, name)
    seen = 0

    def deadly(self: Any, *arguments: Any, **facts: Any) -> Any:
        nonlocal seen
        seen += in_round_2(self, arguments)
        now = seen == occurrence and in_round_2(self, arguments)
        if now and before:
            kill(victim)
        result = original(self, *arguments, **facts)
        if now:
            kill(victim)
        return result

    setattr(kind, name, deadly)
    remember_first_round(note)
    simulate(settings, settings.run.out, announce=lambda stage: None)


def in_round_2(actor: Any, arguments: tuple[Any, ...]) -> bool:
    if isinstance(actor, LocalTrainer):
        return arguments[-1] == f"round {ROUND}"
    about = arguments[0] if arguments else actor.current_round()
    number = about.round if isinstance(about, UpdateCommitment) else about
    return bool(number == ROUND)


chains: list[LocalChain] = []
start_chain = LocalChain.start


def remember_first_round(note: Path) -> None:
    """Write the first round's model to `note` once the second opens, and keep the chain's process in reach."""
    open_round = Ledger.open_round

    def opening(self: Ledger, config: bytes) -> int:
        number = open_round(self, config)
        if number == ROUND:
            note.write_bytes(self.round(1).new_model)
        return number

    def starting(self: LocalChain) -> None:
        start_chain(self)
        chains.append(self)

    Ledger.open_round = opening  # type: ignore[method-assign]
    LocalChain.start = starting  # type: ignore[method-assign]


def kill(victim: str) -> None:
    if victim == "self":
        os.kill(os.getpid(), signal.SIGKILL)
    process = chains[0]._process
    assert process is not None
    process.kill()
    process.wait()
