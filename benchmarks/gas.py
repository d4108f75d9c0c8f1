"""Gas and time of a round against the number of institutions, on Anvil: what each party's transactions use.

The baseline of gas is a transaction that does nothing, 21,000. `chain time` is what the node itself takes for a round's
blocks, one transaction each: they are repeated from the journal in a node of their own. Its baseline is the round as
the parties play it one after another, with each one's rehearsal, receipt and views.
"""

import tempfile
import time
from pathlib import Path

from benchmarks.played_study import Study
from benchmarks.report import Case, run
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.journal import BlockRecord
from fedchest.ledger.rebuild import rebuild
from fedchest.ledger.rpc import connect

SIZES = (2, 4, 16, 64, 256)
NOTHING = 21_000


def measure() -> list[Case]:
    """Each kind of transaction by number of institutions, in a study's second round, and seconds of the third."""
    return [case for size in SIZES for case in _of(size)]


def _of(size: int) -> list[Case]:
    with tempfile.TemporaryDirectory() as folder, LocalChain(Path(folder) / "chain") as chain:
        study = Study(chain.rpc_url, Path(folder), size)
        study.play_round()
        gas = study.play_round()
        before = _recorded(chain)
        start = time.perf_counter()
        study.play_round()
        seconds = time.perf_counter() - start
        played = _recorded(chain)[len(before) :]
        alone = _repeated(Path(folder) / "again", before, played)
    total = sum(gas[kind] * times for kind, times in _times(size).items())
    return [
        *(Case(f"{kind}/{size}", "gas", amount, NOTHING) for kind, amount in gas.items()),
        Case(f"round/{size}", "gas", total, NOTHING * len(played)),
        Case(f"chain time of a round/{size}", "s", alone, seconds),
    ]


def _times(size: int) -> dict[str, int]:
    """How often each kind of transaction comes in a round."""
    return {
        "open": 1,
        "submit, first of the round": 1,
        "submit": size - 1,
        "propose": 1,
        "attest": size - 1,
        "finalize": 1,
    }


def _recorded(chain: LocalChain) -> list[BlockRecord]:
    chain.journal.follow(connect(chain.rpc_url))
    return chain.journal.records()


def _repeated(folder: Path, before: list[BlockRecord], played: list[BlockRecord]) -> float:
    """Seconds in which a node that stands after `before` makes the blocks that were `played`."""
    with LocalChain(folder, replica=True) as node:
        w3 = connect(node.rpc_url)
        rebuild(w3, before)
        start = time.perf_counter()
        rebuild(w3, played)
        return time.perf_counter() - start


if __name__ == "__main__":
    run("gas", measure)
