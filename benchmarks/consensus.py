"""Witnesses: how soon a block is final, with some of them lying, silent or cut off; and rebuilding from a journal.

Real, each with a node of its own, all on this machine: the witnesses of `finality` and `block_time`. Simulated, with
this machine's measured step as the witness's own work: what `simulated` and `rules` say of witnesses far apart.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from web3 import Web3

from benchmarks.played_study import Study
from benchmarks.report import Case, run
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.journal import BlockRecord
from fedchest.ledger.rebuild import rebuild
from fedchest.ledger.rpc import command, connect
from fedchest.ledger.wallet import Wallet
from fedchest.ledger.witness.board import Board
from fedchest.ledger.witness.checkpoint import Checkpoint, cosign
from fedchest.ledger.witness.roster import Roster, quorum, tolerated
from fedchest.ledger.witness.tally import Tally
from fedchest.ledger.witness.witness import WALLET, Witness

SIZES = (4, 7, 16, 64)
BLOCKS = 20
"""Made one after another for each median."""

BLOCK_TIMES = (0, 1, 5)
"""Seconds between blocks; 0 makes one for each transaction."""

TRANSACTIONS = 8
"""Sent at random times for each of BLOCK_TIMES."""

INSTITUTIONS, LONGEST = 10, 1500
"""Of the study whose journal is rebuilt: members, blocks."""

POLL, DELAY, SPREAD, DRAWS = 0.5, 0.1, 0.5, 20_000
"""Simulated: seconds between a witness's looks, median one-way delay, its log-normal spread, rounds drawn."""

RULES: dict[str, Callable[[int], int]] = {
    "majority": lambda n: n // 2 + 1,
    "two thirds and one": quorum,
    "all": lambda n: n,
}
_CORES = 2


def measure(subjects: Sequence[str] = ()) -> list[Case]:
    """The cases of the subjects, all of them where none is named."""
    return [case for name in subjects or SUBJECTS for case in SUBJECTS[name]()]


# Rebuilding.


def _rebuilding() -> list[Case]:
    """Blocks a second, against one request of web3 for each transaction and block, in the same run."""
    with tempfile.TemporaryDirectory() as folder:
        records = _played(Path(folder), LONGEST)
    cases = []
    for count in (500, 1000, LONGEST):
        stretch = records[:count]
        (slow, fast), (_, pruned) = (
            (_blocks_a_second(_one_by_one, stretch, replica), _blocks_a_second(rebuild, stretch, replica))
            for replica in (False, True)
        )
        cases += [
            Case(f"rebuild {count} blocks", "blocks/s", fast, slow),
            Case(f"rebuild {count} blocks, no old states", "blocks/s", pruned, slow),
        ]
    size = sum(len(record.to_line()) for record in records) / len(records)
    return [*cases, Case("journal", "bytes a block", size)]


def _played(folder: Path, blocks: int) -> list[BlockRecord]:
    with LocalChain(folder / "chain") as chain:
        study = Study(chain.rpc_url, folder, INSTITUTIONS)
        while study.coordinator.head()[0] < blocks:
            study.play_round()
    return chain.journal.records()[:blocks]


def _blocks_a_second(
    repeat: Callable[[Web3, Sequence[BlockRecord]], None], records: Sequence[BlockRecord], replica: bool
) -> float:
    with tempfile.TemporaryDirectory() as folder, LocalChain(Path(folder), replica=replica) as chain:
        w3 = connect(chain.rpc_url)
        command(w3, "evm_setAutomine", False)
        command(w3, "evm_setTime", records[0].timestamp - 1)
        start = time.perf_counter()
        repeat(w3, records)
        return len(records) / (time.perf_counter() - start)


def _one_by_one(w3: Web3, records: Sequence[BlockRecord]) -> None:
    """The baseline: each call through web3."""
    for record in records:
        for raw in record.transactions:
            command(w3, "eth_sendRawTransaction", "0x" + raw.hex())
        command(w3, "evm_mine", {"timestamp": record.timestamp})
    assert w3.eth.get_block(records[-1].number)["hash"] == records[-1].hash


# Real witnesses.


@dataclass
class _Bench:
    """A sequencer and witnesses of whom the last `faulty` are not started."""

    folder: Path
    chain: LocalChain
    wallets: list[Wallet]
    roster: Roster
    honest: list[Witness]

    def __post_init__(self) -> None:
        self.w3 = connect(self.chain.rpc_url)
        self.tally = Tally(self.roster)
        self.board = Board(self.folder / "board", self.roster.chain_id)

    def seconds_to_finality(self, pool: ThreadPoolExecutor) -> float:
        """Make a block; until a reader of the board has a quorum's cosignatures of it, all checked."""
        command(self.w3, "evm_mine")
        start, height = time.perf_counter(), self.w3.eth.block_number
        seconds = None
        for _ in pool.map(
            Witness.step, self.honest
        ):  # to the end: what is left would weigh on the next block
            self.tally.add(self.board.new())
            final = self.tally.final()
            if seconds is None and final is not None and final.height >= height:
                seconds = time.perf_counter() - start
        assert seconds is not None, f"block {height} did not become final"
        return seconds

    def lie(self, liars: Sequence[Wallet]) -> None:
        """Put up cosignatures of a block that is none, for the next height."""
        genesis, height = self.roster.genesis_hash, self.w3.eth.block_number + 1
        for liar in liars:
            invented = Checkpoint(genesis, height, b"lie".ljust(32, b"\0"))
            self.board.publish(liar.address, [cosign(liar, invented, self.roster.chain_id)])


@contextmanager
def _bench(members: int, faulty: int) -> Iterator[_Bench]:
    with (
        tempfile.TemporaryDirectory() as name,
        LocalChain(Path(name) / "chain") as chain,
        ExitStack() as open_,
    ):
        folder = Path(name)
        wallets = []
        for number in range(members):
            (folder / str(number)).mkdir()
            wallets.append(Wallet.create(folder / str(number) / WALLET))
        genesis = "0x" + bytes(connect(chain.rpc_url).eth.get_block(0)["hash"]).hex()
        roster = Roster(chain_id=31337, genesis=genesis, members=tuple(one.address for one in wallets))
        honest = [
            open_.enter_context(_witness(folder, number, chain, roster)) for number in range(members - faulty)
        ]
        yield _Bench(folder, chain, wallets, roster, honest)


def _witness(folder: Path, number: int, chain: LocalChain, roster: Roster) -> Witness:
    return Witness(folder / str(number), chain.rpc_url, folder / "board", roster)


def _finality() -> list[Case]:
    return [case for members in SIZES for case in _finality_of(members)]


def _finality_of(members: int) -> Iterator[Case]:
    """Milliseconds to finality, all well and with as many faulty as are tolerated."""
    faulty = tolerated(members)
    with _bench(members, 0) as bench, ThreadPoolExecutor(_CORES) as pool:
        well = 1000 * median(bench.seconds_to_finality(pool) for _ in range(BLOCKS))
        yield Case(f"{members} witnesses, all well", "ms", well)
    with _bench(members, faulty) as bench, ThreadPoolExecutor(_CORES) as pool:
        silent = 1000 * median(bench.seconds_to_finality(pool) for _ in range(BLOCKS))
        yield Case(f"{members} witnesses, {faulty} silent", "ms", silent, well)
        back = 1000 * _return(bench, members)
        yield Case(f"{members} witnesses, one back after {BLOCKS} blocks cut off", "ms", back)
        seconds = []
        for _ in range(BLOCKS):
            bench.lie(bench.wallets[members - faulty :])
            seconds.append(bench.seconds_to_finality(pool))
        yield Case(f"{members} witnesses, {faulty} lying", "ms", 1000 * median(seconds), well)
        yield Case(f"{members} witnesses, {faulty} lying", "invented blocks final", _invented(bench))


def _invented(bench: _Bench) -> int:
    """How many heights' final block is not the sequencer's."""
    final = bench.tally.final()
    assert final is not None
    return int(final.block_hash != bench.w3.eth.get_block(final.height)["hash"])


def _return(bench: _Bench, members: int) -> float:
    """Seconds in which a witness that was cut off starts, repeats all blocks and cosigns them."""
    start = time.perf_counter()
    with _witness(bench.folder, members - 1, bench.chain, bench.roster) as late:
        while late.step().height < bench.w3.eth.block_number:
            pass
    return time.perf_counter() - start


def _block_time() -> list[Case]:
    """Seconds from sending a transaction until its block is final, for 4 witnesses that look every 50 ms."""
    return [
        Case(
            f"4 witnesses, a block {f'every {block_time} s' if block_time else 'a transaction'}", "s", seconds
        )
        for block_time in BLOCK_TIMES
        for seconds in [_seconds_at(block_time)]
    ]


def _seconds_at(block_time: int) -> float:
    draws = np.random.default_rng(0)
    with _bench(4, 0) as bench:
        account = bench.w3.eth.account.create()
        if block_time:
            command(bench.w3, "evm_setIntervalMining", block_time)
        seconds = []
        for nonce in range(TRANSACTIONS):
            time.sleep(draws.uniform(0, max(block_time, 0.05)))
            fields = {"nonce": nonce, "gas": 21_000, "gasPrice": 0, "to": account.address, "value": 0}
            raw = account.sign_transaction(fields | {"chainId": 31337}).raw_transaction
            start = time.perf_counter()
            sent = bench.w3.eth.send_raw_transaction(raw)
            height = bench.w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)["blockNumber"]
            _step_until_final(bench, height)
            seconds.append(time.perf_counter() - start)
    return median(seconds)


def _step_until_final(bench: _Bench, height: int) -> None:
    while True:
        for witness in bench.honest:
            witness.step()
        bench.tally.add(bench.board.new())
        final = bench.tally.final()
        if final is not None and final.height >= height:
            return
        time.sleep(0.05)


# Witnesses far apart, simulated.


def _one_step() -> float:
    """Median seconds of one witness's step over one block, alone on this machine."""
    with _bench(4, 3) as bench:
        seconds = []
        for _ in range(BLOCKS):
            command(bench.w3, "evm_mine")
            start = time.perf_counter()
            bench.honest[0].step()
            seconds.append(time.perf_counter() - start)
    return median(seconds)


def _simulated() -> list[Case]:
    """The median second at which a reader has a quorum; each witness looks, asks, repeats, and puts up by itself."""
    step = _one_step()
    cases = [Case("one witness's step, alone", "ms", 1000 * step)]
    for name, rule in RULES.items():
        for members in SIZES:
            needed, faulty = rule(members), tolerated(members)
            for silent in (0, faulty):
                if members - silent >= needed:
                    draws = _drawn(members - silent, needed, step)
                    cases.append(Case(f"{name} of {members}, {silent} silent", "s", float(np.median(draws))))
                    cases.append(
                        Case(
                            f"{name} of {members}, {silent} silent",
                            "s, 99 %",
                            float(np.quantile(draws, 0.99)),
                        )
                    )
    return cases


def _drawn(answering: int, needed: int, step: float) -> NDArray[np.float64]:
    """Seconds until the `needed`-th of the `answering` witnesses' cosignatures reaches a reader, (DRAWS,)."""
    draws = np.random.default_rng(0)
    shape = (DRAWS, answering)
    delays = draws.lognormal(np.log(DELAY), SPREAD, (3, *shape)).sum(axis=0)  # ask, answer, put up
    arrivals = draws.uniform(0, POLL, shape) + delays + step
    return np.partition(arrivals, needed - 1, axis=1)[:, needed - 1]


def _rules() -> list[Case]:
    """What each rule withstands: liars before two blocks of one height can be final, silent ones before none is."""
    cases = []
    for name, rule in RULES.items():
        for members in SIZES:
            needed = rule(members)
            cases.append(Case(f"{name} of {members}: {needed}", "liars withstood", 2 * needed - members - 1))
            cases.append(Case(f"{name} of {members}: {needed}", "silent withstood", members - needed))
    return cases


SUBJECTS: dict[str, Callable[[], list[Case]]] = {
    "rebuild": _rebuilding,
    "finality": _finality,
    "block_time": _block_time,
    "simulated": _simulated,
    "rules": _rules,
}

if __name__ == "__main__":
    run("consensus", measure, tuple(SUBJECTS))
