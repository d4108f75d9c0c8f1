"""The step on the events: what the contract's state machine makes of them is what the contract shows."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from fedchest.audit.case import Case
from fedchest.audit.machine import Machine
from fedchest.audit.registry import NO_HASH, NO_ONE
from fedchest.audit.report import Fault
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.storage import LedgerStorage


def events(case: Case) -> str:
    """Replayed from its events alone, the contract's state machine arrives at what its views show."""
    machine = Machine(case.ledger.chain_id, case.ledger.address, lambda block: case.block_hashes[block - 1])
    machine.replay(case.events)
    _shows(case, machine)
    return (
        f"{len(case.events)} events are what the contract's state machine allows, and lead to its "
        f"{len(machine.rounds)} rounds and {len(machine.institutions)} institutions{_equivocations(machine)}"
    )


def _equivocations(machine: Machine) -> str:
    """Whose two different commitments were proven on chain: no fault of the trail, and worth saying."""
    liars = [
        f"institution {institution} in round {round}" for round, institution in sorted(machine.equivocations)
    ]
    return f"; equivocations were proven against {', '.join(liars)}" if liars else ""


def _shows(case: Case, machine: Machine) -> None:
    """The contract's views show what the machine arrived at."""
    ledger = case.ledger
    facts = {
        "coordinators": (sorted(machine.coordinators), sorted(ledger.coordinators())),
        "rules": (machine.rules, ledger.rules()),
        "initial model": (machine.initial_model, ledger.initial_model()),
        "head": (machine.head, ledger.head_round()),
        "global model": (machine.global_model, ledger.global_model()),
        "successor": (machine.successor, ledger.successor() or NO_ONE),
        "pause": (machine.paused, ledger.is_paused()),
        "rounds": (len(machine.rounds), len(case.rounds)),
        "institutions": (len(machine.institutions), len(case.institutions)),
    }
    case.each(facts.items(), lambda fact: _equal(fact[0], *fact[1]))
    committed = _committed(ledger)
    case.each(case.rounds, lambda state: _shows_round(case, machine, committed, state.number))
    case.each(
        case.institutions.items(),
        lambda entry: _equal_fields(machine.institutions[entry[0]], entry[1], institution=entry[0]),
    )


def _committed(ledger: Ledger) -> Callable[[int, int], bytes]:
    """The commitment of an institution in a round: from a contract's storage, where there is one."""
    if isinstance(ledger, LedgerClient):
        return LedgerStorage(ledger.snapshot().word).commitment
    return ledger.committed


def _shows_round(case: Case, machine: Machine, shown: Callable[[int, int], bytes], number: int) -> None:
    replayed = machine.rounds[number]
    _equal_fields(replayed.state, case.rounds[number - 1], round=number)
    _equal("accepted updates", replayed.accepted, case.ledger.accepted(number), round=number)
    attested = {member for member in replayed.members if case.ledger.has_attested(number, member)}
    for member in replayed.members:
        committed = replayed.submitted.get(member, NO_HASH)
        _equal("commitment", committed, shown(number, member), number, member)
    _equal("attestations", sorted(replayed.attested), sorted(attested), round=number)


def _equal_fields(replayed: Any, shown: Any, **where: int) -> None:
    for field in fields(replayed):
        name = field.name
        _equal(name.replace("_", " "), getattr(replayed, name), getattr(shown, name), **where)


def _equal(
    what: str, expected: object, found: object, round: int | None = None, institution: int | None = None
) -> None:
    if expected != found:
        raise Fault(
            f"the contract shows another {what} than its events lead to",
            expected=expected,
            found=found,
            round=round,
            institution=institution,
        )
