"""The event index against the node: building it, asking it, and a million events in it."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from eth_utils.abi import event_signature_to_log_topic

from benchmarks.played_study import Study
from benchmarks.report import Case, run
from benchmarks.synthetic import BLOCK_SECONDS, START, SyntheticLedger, digest
from fedchest.audit.index import RANGE_BLOCKS, EventIndex, EventSource
from fedchest.audit.queries import IndexReader, Row, Selection, open_index
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.rpc import command, commands, connect

INSTITUTIONS, ROUNDS = 20, 100
"""Of the study played on a real chain."""

SYNTHETIC_ROUNDS = 30_299
"""Of the synthetic study: a million events."""

REPEATS = 9
_SUBMITTED = "UpdateSubmitted(uint256,uint16,bytes32,bytes32,bytes32,bytes32,uint16,uint64)"


def measure() -> list[Case]:
    """Seconds and milliseconds of index and node on a played study, and of the index alone on a million events."""
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


def _play(rpc_url: str, folder: Path) -> Ledger:
    """A study of ROUNDS finalized rounds in which every institution takes part."""
    study = Study(rpc_url, folder, INSTITUTIONS)
    for _ in range(ROUNDS):
        study.play_round()
    return study.coordinator


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
    ledger = SyntheticLedger(SYNTHETIC_ROUNDS)
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


def _questions(reader: IndexReader, ledger: SyntheticLedger) -> Iterator[tuple[str, Callable[[], object]]]:
    middle = START + BLOCK_SECONDS * (ledger.height // 2)
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
    commitment = "0x" + digest(1234, 34, "commitment").hex()
    yield "update by its hash", lambda: reader.updates(commitment)
    yield "rounds of a day", lambda: reader.rounds(Selection(since=middle, until=day))
    yield "budget of all", reader.budget
    yield "rewards of all", reader.rewards


def _milliseconds(action: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds)


if __name__ == "__main__":
    run("event_index", measure)
