"""The event index against the node: building it, asking it, and a million events in it."""

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from eth_utils.abi import event_signature_to_log_topic

from benchmarks.report import Case, run
from fedchest.audit.index import RANGE_BLOCKS, EventIndex, EventSource
from fedchest.audit.queries import IndexReader, Row, Selection, open_index
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.client import LedgerClient, deploy
from fedchest.ledger.records import REQUIRED_CHECKS, Attestation, Event, Proposal, Rules, UpdateCommitment
from fedchest.ledger.rpc import command, commands, connect
from fedchest.ledger.wallet import Wallet

INSTITUTIONS, ROUNDS = 20, 100
"""Of the study played on a real chain."""

EVENTS, REGISTERED, MEMBERS = 1_000_000, 100, 10
"""Of the synthetic study; MEMBERS take part in each round."""

REPEATS = 9
RULES = Rules(b"c" * 32, b"a" * 32, 600, 600, 0, 2, False, 10**6, 10**9)
_SUBMITTED = "UpdateSubmitted(uint256,uint16,bytes32,bytes32,bytes32,bytes32,uint16,uint64)"
_START, _BLOCK_SECONDS, _BLOCKS_A_ROUND = 1_790_000_000, 12, 4


def measure() -> list[Case]:
    """Seconds and milliseconds of index and node on a played study, and of the index alone on EVENTS events."""
    with tempfile.TemporaryDirectory() as folder:
        return [*_played(Path(folder)), *_synthetic(Path(folder) / "synthetic.sqlite")]


def _played(folder: Path) -> list[Case]:
    with LocalChain(folder / "chain") as chain:
        ledger = _play(chain.rpc_url, folder)
        node = _Node(chain.rpc_url, ledger.address)
        path = folder / "played.sqlite"
        bare, built, continued = (
            _milliseconds(action) / 1000
            for action in (node.everything, partial(_build_anew, path, ledger), partial(_build, path, ledger))
        )
        with open_index(path) as reader:
            queries = _against_the_node(reader, node)
        size = f"{node.everything():,} events of a chain"
    return [
        Case(f"{size}, build", "s", built, bare),
        Case(f"{size}, nothing new", "s", continued, built),
        *queries,
    ]


def _build(path: Path, ledger: EventSource) -> None:
    with EventIndex(path, ledger) as index:
        index.sync()


def _build_anew(path: Path, ledger: EventSource) -> None:
    path.unlink(missing_ok=True)
    _build(path, ledger)


def _play(rpc_url: str, folder: Path) -> LedgerClient:
    """A study of ROUNDS finalized rounds in which every institution takes part."""
    wallet = Wallet.create(folder / "coordinator.key")
    address = deploy(rpc_url, wallet, RULES)
    coordinator = LedgerClient(rpc_url, address, wallet)
    wallets = [Wallet.create(folder / f"{number}.key") for number in range(INSTITUTIONS)]
    for one in wallets:
        coordinator.register_founder(one.address, 1, 10**9)
    sites = [LedgerClient(rpc_url, address, one) for one in wallets]
    for site in sites[: 2 * INSTITUTIONS // 3 + 1]:
        site.approve_initial_model(b"i" * 32, b"v" * 32)
    for _ in range(ROUNDS):
        _play_round(coordinator, sites)
    return coordinator


def _play_round(coordinator: LedgerClient, sites: Sequence[LedgerClient]) -> None:
    base = coordinator.global_model()
    number = coordinator.open_round(b"c" * 32)
    for id, site in enumerate(sites):
        site.submit_update(UpdateCommitment(number, id, base, b"s" * 32, b"p" * 32, b"m" * 32, 1, number))
    model = hashlib.sha256(base).digest()
    coordinator.propose(number, Proposal(model, b"r" * 32, b"q" * 32, bytes(24)), range(INSTITUTIONS), {})
    for site in sites:
        site.attest(number, Attestation(model, bytes(24), bytes(24), REQUIRED_CHECKS))


class _Node:
    """The baseline: bare JSON-RPC requests whose answers are parsed as JSON and no further."""

    def __init__(self, rpc_url: str, address: str) -> None:
        self._w3 = connect(rpc_url)
        self._address = address

    def logs(self, first: int, last: int | str, topics: Sequence[str | None] = ()) -> list[Any]:
        query = {
            "address": self._address,
            "fromBlock": hex(first),
            "toBlock": last if isinstance(last, str) else hex(last),
            "topics": list(topics),
        }
        return list(command(self._w3, "eth_getLogs", query))

    def times(self, logs: Sequence[Any]) -> list[Any]:
        hashes = sorted({log["blockHash"] for log in logs})
        return commands(self._w3, "eth_getBlockByHash", [(one, False) for one in hashes])

    def everything(self) -> int:
        """Ask for all that a build needs; the number of events."""
        height, found = self._w3.eth.block_number, 0
        for first in range(0, height + 1, RANGE_BLOCKS):
            logs = self.logs(first, min(first + RANGE_BLOCKS - 1, height))
            self.times(logs)
            hashes = dict.fromkeys(log["transactionHash"] for log in logs)
            commands(self._w3, "eth_getTransactionReceipt", [(one,) for one in hashes])
            found += len(logs)
        return found


def _against_the_node(reader: IndexReader, node: _Node) -> list[Case]:
    submitted = "0x" + event_signature_to_log_topic(_SUBMITTED).hex()
    round, institution = ROUNDS // 2, INSTITUTIONS // 2
    number, of_institution = f"0x{round:064x}", f"0x{institution:064x}"
    middle = reader.rounds(Selection(round=round))[0]["timestamp"]

    def in_time() -> None:
        node.times(node.logs(0, "latest", [submitted]))  # a node can't filter by time

    asked: dict[str, tuple[Selection, Callable[[], object]]] = {
        "by round": (Selection(round=round), lambda: node.logs(0, "latest", [None, number])),
        "by kind and institution": (
            Selection(kind="UpdateSubmitted", institution=institution),
            lambda: node.logs(0, "latest", [submitted, None, of_institution]),
        ),
        "by kind and time": (Selection(kind="UpdateSubmitted", since=middle, until=middle + 1), in_time),
    }
    return [
        Case(f"events {name}", "ms", _milliseconds(partial(_listed, reader, selection)), _milliseconds(ask))
        for name, (selection, ask) in asked.items()
    ]


def _listed(reader: IndexReader, selection: Selection) -> list[Row]:
    return list(reader.events(selection))


def _synthetic(path: Path) -> list[Case]:
    ledger = _SyntheticLedger(EVENTS)
    start = time.perf_counter()
    made = sum(
        1
        for first in range(0, ledger.height, RANGE_BLOCKS)
        for _ in ledger.events(first, first + RANGE_BLOCKS - 1)
    )
    making = time.perf_counter() - start
    start = time.perf_counter()
    _build(path, ledger)
    writing = time.perf_counter() - start - making
    size = f"{made:,} events"
    with open_index(path) as reader:
        return [
            Case(f"{size}, written", "µs an event", writing / made * 1e6),
            Case(f"{size}, file", "MB", path.stat().st_size / 1e6),
            *(Case(f"{size}, {name}", "ms", _milliseconds(ask)) for name, ask in _questions(reader, ledger)),
        ]


def _questions(reader: IndexReader, ledger: "_SyntheticLedger") -> Iterator[tuple[str, Callable[[], object]]]:
    middle = _START + _BLOCK_SECONDS * (ledger.height // 2)
    hour, day = middle + 3600, middle + 86_400
    selections = {
        "of a round": Selection(round=1234),
        "of an institution in a day": Selection(institution=7, since=middle, until=day),
        "refusals of an institution": Selection(institution=7, kind="UpdateRefused"),
        "of an hour": Selection(since=middle, until=hour),
    }
    for name, selection in selections.items():
        yield name, partial(_listed, reader, selection)
    yield "all of an institution", partial(_listed, reader, Selection(institution=7))
    commitment = "0x" + _digest(1234, 34, "commitment").hex()
    yield "update by its hash", lambda: reader.updates(commitment)
    yield "rounds of a day", lambda: reader.rounds(Selection(since=middle, until=day))
    yield "budget of all", reader.budget
    yield "rewards of all", reader.rewards


class _SyntheticLedger:
    """Stands for a chain: a study whose rounds all go well but for one refusal each."""

    chain_id, address = 31337, "0x" + "5" * 40

    def __init__(self, events: int) -> None:
        self._rounds = (events - 1 - REGISTERED) // len(self._round(1))
        self.height = _BLOCKS_A_ROUND * (self._rounds + 1) - 1

    def head(self) -> tuple[int, bytes]:
        return self.height, self.block_hashes([self.height])[0]

    def block_hashes(self, numbers: Sequence[int]) -> list[bytes]:
        return [hashlib.sha256(str(number).encode()).digest() for number in numbers]

    def events(self, from_block: int, to_block: int) -> list[Event]:
        """Every event from block `from_block` to block `to_block`."""
        rounds = range(from_block // _BLOCKS_A_ROUND, min(to_block // _BLOCKS_A_ROUND, self._rounds) + 1)
        found = [
            event for number in rounds for event in (self._round(number) if number else self._founding())
        ]
        return [event for event in found if from_block <= event.block <= to_block]

    def _founding(self) -> list[Event]:
        study = {
            "coordinator": "0x" + "c" * 40,
            "rules": RULES,
        }
        wallets = [f"0x{number + 1:040x}" for number in range(REGISTERED)]
        registered = [
            _event(
                0,
                number + 1,
                "InstitutionRegistered",
                None,
                number,
                wallet=wallet,
                weight_class=1,
                epsilon_budget=10**9,
            )
            for number, wallet in enumerate(wallets)
        ]
        return [_event(0, 0, "StudyCreated", None, None, **study), *registered]

    def _round(self, number: int) -> list[Event]:
        members = [(number + 7 * place) % REGISTERED for place in range(MEMBERS)]
        refused, accepted = members[0], sorted(members[1:])
        block, model = _BLOCKS_A_ROUND * number, _digest(number, 0, "model")
        opened = {
            "base_model": _digest(number - 1, 0, "model"),
            "parent": number - 1,
            "config": b"c" * 32,
            "members": tuple(members),
            "quorum": 7,
            "deadline": 0,
        }
        proposed = {
            "new_model": model,
            "record": _digest(number, 0, "record"),
            "sum_hash": _digest(number, 0, "sum"),
            "fingerprint": bytes(24),
            "accepted": tuple(accepted),
            "deadline": 0,
        }
        last = block + 3
        return [
            _event(block, 0, "RoundOpened", number, None, **opened),
            *(_submission(block + 1, place, number, member) for place, member in enumerate(members)),
            _event(block + 2, 0, "UpdateRefused", number, refused, reason=10),
            _event(block + 2, 1, "AggregateProposed", number, None, **proposed),
            *(
                _event(
                    last, place, "Attested", number, member, recomputed_model=model, checks=15, agrees=True
                )
                for place, member in enumerate(members)
            ),
            _event(last, MEMBERS, "RoundFinalized", number, None, new_model=model),
            *(
                _event(last, MEMBERS + 1 + place, "Credited", number, member, amount=111_111)
                for place, member in enumerate(accepted)
            ),
        ]


def _submission(block: int, place: int, number: int, member: int) -> Event:
    names = ("commitment", "sealed_hash", "plaintext_hash", "manifest_hash")
    hashes = {name: _digest(number, member, name) for name in names}
    return _event(block, place, "UpdateSubmitted", number, member, **hashes, weight_class=1, epsilon=number)


def _event(
    block: int, place: int, kind: str, round: int | None, institution: int | None, **values: object
) -> Event:
    transaction = "0x" + _digest(block, place, "transaction").hex()
    timestamp = _START + _BLOCK_SECONDS * block
    sender = "0x" + "a" * 40
    return Event(block, place, timestamp, transaction, sender, 65_000, kind, round, institution, values)


def _digest(number: int, institution: int, what: str) -> bytes:
    return hashlib.sha256(f"{number} {institution} {what}".encode()).digest()


def _milliseconds(action: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds)


if __name__ == "__main__":
    run("event_index", measure)
