"""`fedchest witness` as its users run it: keys, roster, following with Ctrl-C and kill -9, and reading the outcome."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from studies import StudyOnChain

from fedchest.cli.main import main
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.rpc import command, connect
from fedchest.ledger.wallet import Wallet
from fedchest.ledger.witness.board import Board
from fedchest.ledger.witness.checkpoint import Checkpoint, cosign

pytestmark = pytest.mark.e2e

# The group alone, which starts in a fraction of the time that the whole command takes.
WITNESS = [
    sys.executable,
    "-c",
    "import sys; from fedchest.cli.witness import witness; sys.exit(witness(standalone_mode=False))",
]


Fedchest = Callable[..., str]


@pytest.fixture
def fedchest(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Fedchest:
    """What `fedchest witness` prints with some arguments; its exit status must be `status`."""

    def call(*arguments: object, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["fedchest", "witness", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = "".join(capfd.readouterr())
        assert ended.value.code == status, told
        return told

    return call


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[LocalChain]:
    with LocalChain(tmp_path / "chain") as running:
        yield running


@pytest.fixture
def roster(chain: LocalChain, fedchest: Fedchest, tmp_path: Path) -> Path:
    """Four witnesses' keys in folders w0 to w3, and their roster."""
    addresses = [fedchest("create", tmp_path / f"w{number}").strip() for number in range(4)]
    made = fedchest("roster", tmp_path / "roster.json", *addresses, "--rpc", chain.rpc_url)
    assert made == "4 witnesses, of whom 3 make a block final; 1 may lie, be silent or be cut off.\n"
    return tmp_path / "roster.json"


class Running:
    """`fedchest witness run` as a process of its own, whose lines are read as they come."""

    def __init__(self, tmp_path: Path, number: int, rpc_url: str) -> None:
        options = ["--rpc", rpc_url, "--board", tmp_path / "board", "--roster", tmp_path / "roster.json"]
        self.process = subprocess.Popen(
            [*WITNESS, *map(str, ["run", tmp_path / f"w{number}", *options, "--every", "0.05", "--json"])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def lines(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield json.loads(line)

    def until(self, height: int) -> None:
        """Wait until it has cosigned that block."""
        next(line for line in self.lines() if line.get("height", 0) >= height)

    def end(self, sign: signal.Signals) -> int:
        self.process.send_signal(sign)
        return self.process.wait(60)


@pytest.fixture
def run(chain: LocalChain, tmp_path: Path) -> Iterator[Any]:
    started: list[Running] = []

    def start(number: int) -> Running:
        started.append(Running(tmp_path, number, chain.rpc_url))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.end(signal.SIGKILL)


def test_three_of_four_make_blocks_final_and_ctrl_c_ends_them_cleanly(fedchest, chain, roster, run, tmp_path):
    board = tmp_path / "board"
    study = StudyOnChain(chain.rpc_url, tmp_path)
    running = [run(number) for number in range(3)]
    for one in running:
        one.until(connect(chain.rpc_url).eth.block_number)
    study.finalized_round()
    height = connect(chain.rpc_url).eth.block_number
    for one in running:
        one.until(height)
        assert one.end(signal.SIGINT) == 130
    final = json.loads(fedchest("final", "--board", board, "--roster", roster, "--json"))["final"]
    found = connect(chain.rpc_url).eth.get_block(height)["hash"]
    assert final == {"height": height, "hash": "0x" + bytes(found).hex()}
    verdict = json.loads(fedchest("verify", board, "--roster", roster, "--json"))
    assert verdict["final"] == final
    assert sorted(verdict["members"].values()) == [0, height, height, height]
    assert verdict["equivocations"] == verdict["disputes"] == [] and verdict["bad_lines"] == {}
    assert f"Final is block {height}, " in fedchest("verify", board, "--roster", roster)


@pytest.mark.slow
def test_a_witness_killed_again_and_again_gives_one_answer_for_each_height(chain, roster, run, tmp_path):
    """kill -9 at any moment: after the last start every block is up once, as the sequencer has it."""
    w3 = connect(chain.rpc_url)
    command(w3, "anvil_mine", "0x14")
    draws = random.Random(7)
    running = run(0)
    running.until(1)
    for _ in range(8):
        deadline = time.monotonic() + draws.uniform(0.0, 0.3)
        while time.monotonic() < deadline:
            command(w3, "evm_mine")
        running.end(signal.SIGKILL)
        running = run(0)
        time.sleep(draws.uniform(2.0, 4.0))
    height = w3.eth.block_number
    running.until(height)
    assert running.end(signal.SIGINT) == 130
    up = [one.checkpoint for one in Board(tmp_path / "board", 31337).new()]
    hashes = [bytes(w3.eth.get_block(number)["hash"]) for number in range(1, height + 1)]
    assert [(one.height, one.block_hash) for one in up] == list(enumerate(hashes, start=1))


def test_a_forgery_ends_it_with_status_1(chain, roster, run, tmp_path):
    study = StudyOnChain(chain.rpc_url, tmp_path)
    height = connect(chain.rpc_url).eth.block_number
    running = run(0)
    running.until(height)
    command(connect(chain.rpc_url), "anvil_setCode", study.address, "0x00")
    last = list(running.lines())[-1]
    assert f"does not serve the state that its block {height} left" in last["tampered"]
    assert running.process.wait(30) == 1


def test_it_waits_for_a_sequencer_that_is_away(chain, roster, run):
    chain.stop()
    running = run(0)
    assert (
        "No Ethereum node answers" in next(line for line in running.lines() if "waiting" in line)["waiting"]
    )
    chain.start()
    command(connect(chain.rpc_url), "evm_mine")
    running.until(1)
    assert running.end(signal.SIGINT) == 130


def test_two_answers_are_reported_with_their_proof(fedchest, chain, roster, tmp_path):
    wallet = Wallet.load(tmp_path / "w2" / "witness.key")
    genesis = bytes(connect(chain.rpc_url).eth.get_block(0)["hash"])
    signatures = [cosign(wallet, Checkpoint(genesis, 3, block * 32), 31337) for block in (b"a", b"b")]
    board = Board(tmp_path / "board", 31337)
    board.create()
    board.publish(wallet.address, signatures)
    verdict = json.loads(fedchest("verify", tmp_path / "board", "--roster", roster, "--json", status=1))
    (proof,) = verdict["equivocations"]
    assert (proof["signer"], proof["height"]) == (wallet.address, 3)
    assert proof["cosignatures"] == [one.to_json() for one in signatures]
    assert verdict["disputes"][0]["signers"].keys() == {"0x" + "61" * 32, "0x" + "62" * 32}
    told = fedchest("verify", tmp_path / "board", "--roster", roster, status=1)
    assert f"{wallet.address} cosigned two blocks of height 3: proven by its signatures." in told
    assert "No block is final." in told


def test_a_chains_own_finality_is_asked_by_the_same_command(fedchest, chain):
    command(connect(chain.rpc_url), "anvil_mine", hex(70))
    assert fedchest("final", "--rpc", chain.rpc_url).startswith("Final is block 6, 0x")
    assert fedchest("final", "--rpc", chain.rpc_url, "--at-once").startswith("Final is block 70, 0x")


def test_foreseeable_faults_are_one_sentence(fedchest, chain, roster, tmp_path):
    rpc, board = ("--rpc", chain.rpc_url), ("--board", tmp_path / "board")
    cases: dict[str, tuple[object, ...]] = {
        "is not overwritten": ("create", tmp_path / "w0"),
        "0x12 is not an address": ("roster", tmp_path / "r.json", "0x12", *rpc),
        "exists already": ("roster", roster, "0x" + 40 * "1", *rpc),
        "A member is named twice": ("roster", tmp_path / "r.json", "0x" + 40 * "1", "0x" + 40 * "1", *rpc),
        "can't be read": ("run", tmp_path / "nobody", *rpc, *board, "--roster", roster),
        "is no roster": ("verify", tmp_path, "--roster", tmp_path / "w0" / "witness.key"),
        "is no folder": ("verify", tmp_path / "absent", "--roster", roster),
        "Give --board and --roster": ("final", *board),
        "No Ethereum node answers": ("final", "--rpc", "http://127.0.0.1:1"),
    }
    for sentence, arguments in cases.items():
        assert sentence in fedchest(*arguments, status=2)


def test_the_witnesss_port_can_be_chosen(fedchest, chain, roster, tmp_path):
    options = ["--rpc", chain.rpc_url, "--board", tmp_path / "board", "--roster", roster]
    taken = chain.rpc_url.rpartition(":")[2]
    assert f"Port {taken}" in fedchest("run", tmp_path / "w0", *options, "--port", taken, status=2)
    assert not (tmp_path / "board").exists()
