"""The index holds what the chain holds: built at once, in pieces, after a kill, and after reorganisations."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from audit_support import NEVER_IN_AN_OPEN_STUDY, abandoned_round, event_json, pass_time
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from studies import StudyOnChain

from fedchest.audit.index import EventIndex
from fedchest.audit.queries import open_index
from fedchest.audit.schema import TABLES
from fedchest.errors import StoreError
from fedchest.ledger import records
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.events import ChainMoved
from fedchest.ledger.rpc import command, connect

pytestmark = pytest.mark.e2e

ON_A_CHAIN = settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would play the chain for minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Stopped(Exception):
    """Stands for whatever ends a build early."""


def built(path: Path, ledger: LedgerClient, **options: Any) -> Path:
    with EventIndex(path, ledger) as index:
        index.sync(**options)
    return path


def fresh(folder: Path) -> Path:
    """A path below `folder` that does not exist yet: hypothesis runs many examples in one folder."""
    return folder / f"{len(list(folder.iterdir()))}.sqlite"


def content(path: Path) -> dict[str, list[Any]]:
    """Every row of every event's table and of the lists' tables."""
    with sqlite3.connect(path) as connection:
        names = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
            if name not in ("source", "checkpoints")
        ]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall()) for name in names}


@contextmanager
def rolled_back(chain: LocalChain, study: StudyOnChain) -> Iterator[None]:
    """Undo on the chain what the block did."""
    w3 = connect(chain.rpc_url)
    snapshot = command(w3, "evm_snapshot")
    try:
        yield
    finally:
        assert command(w3, "evm_revert", snapshot)
        forget_sent(study)


def forget_sent(study: StudyOnChain) -> None:
    """Let the parties not want what was undone: they would send it again."""
    for wallet in (study.wallet, *study.wallets):
        wallet.path.with_suffix(".sent").unlink(missing_ok=True)


def test_the_index_tells_what_the_chain_tells(played: StudyOnChain, tmp_path: Path) -> None:
    events = played.coordinator.events()
    assert {event.name for event in events} == {
        name for name, table in TABLES.items() if table.name not in NEVER_IN_AN_OPEN_STUDY
    }
    with open_index(built(tmp_path / "index", played.coordinator)) as reader:
        assert list(reader.events()) == [event_json(event) for event in events]


def test_rounds_are_as_the_contract_holds_them(played: StudyOnChain, tmp_path: Path) -> None:
    ledger = played.coordinator
    with open_index(built(tmp_path / "index", ledger)) as reader:
        rows = reader.rounds()
    assert [row["round"] for row in rows] == list(range(1, ledger.current_round() + 1))
    for row in rows:
        state = ledger.round(row["round"])
        proposed = state.new_model != bytes(32)
        assert records.Phase[row["phase"]] is state.phase
        assert (row["members"], row["quorum"]) == (state.members, state.quorum)
        assert (row["agreeing"], row["disagreeing"]) == (state.agreeing, state.disagreeing)
        assert row["deadline"] == state.deadline
        assert (row["base_model"], row["config"]) == (
            hexadecimal(state.base_model),
            hexadecimal(state.config),
        )
        assert row["new_model"] == (hexadecimal(state.new_model) if proposed else None)
        assert row["record"] == (hexadecimal(state.record) if proposed else None)
        assert row["accepted"] == len(ledger.accepted(row["round"]))
        assert row["submitted"] == len(ledger.submissions(row["round"]))
    assert [(row["phase"], row["cause"]) for row in rows] == [
        ("FINALIZED", None),
        ("VOID", "ABANDONED"),
        ("VOID", "REJECTED"),
        ("VOID", "EXPIRED"),
        ("FINALIZED", None),
        ("SUBMITTING", None),
    ]
    assert [row["attested"] for row in rows] == [3, 0, 3, 1, 3, 0]


def test_budget_and_rewards_are_as_the_contract_holds_them(played: StudyOnChain, tmp_path: Path) -> None:
    with open_index(built(tmp_path / "index", played.coordinator)) as reader:
        budget, rewards = reader.budget(), reader.rewards()
    institutions = played.coordinator.institutions()
    assert {one.epsilon_spent for one in institutions} != {0}
    for institution, spent, earned in zip(institutions, budget, rewards, strict=True):
        assert spent["institution"] == earned["institution"] == institution.id
        assert spent["wallet"] == earned["wallet"] == institution.wallet
        assert (spent["epsilon_spent"], spent["epsilon_budget"]) == (
            institution.epsilon_spent,
            institution.epsilon_budget,
        )
        assert spent["share"] == institution.epsilon_spent / institution.epsilon_budget
        assert earned["credits"] == institution.credits
        assert earned["share"] == institution.credits / sum(one.credits for one in institutions)


def hexadecimal(digest: bytes) -> str:
    return "0x" + digest.hex()


@ON_A_CHAIN
@given(pieces=st.lists(st.tuples(st.integers(1, 20), st.integers(0, 3)), max_size=5))
def test_pieces_make_the_whole(played: StudyOnChain, tmp_path: Path, pieces: list[tuple[int, int]]) -> None:
    path = fresh(tmp_path)
    for range_blocks, ranges in pieces:
        with EventIndex(path, played.coordinator) as index, stopping_after(ranges) as heard:
            index.sync(heard, range_blocks=range_blocks)
    assert content(built(path, played.coordinator)) == content(built(fresh(tmp_path), played.coordinator))


@contextmanager
def stopping_after(ranges: int) -> Iterator[Any]:
    """What a sync reports to, which ends it after some ranges."""
    left = ranges

    def heard(_block: int, _height: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stopped

    with suppress(Stopped):
        yield heard


def test_a_killed_build_goes_on_where_it_was(played: StudyOnChain, chain: LocalChain, tmp_path: Path) -> None:
    path = tmp_path / "index"
    program = f"""
import os, signal
from pathlib import Path
from fedchest.audit.index import EventIndex
from fedchest.ledger.client import LedgerClient
index = EventIndex(Path({str(path)!r}), LedgerClient({chain.rpc_url!r}, {played.address!r}))
index.sync(lambda block, _: os.kill(os.getpid(), signal.SIGKILL) if block > 20 else None, range_blocks=5)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -9
    heard: list[int] = []
    with EventIndex(path, played.coordinator) as index:
        index.sync(lambda block, _: heard.append(block))
    assert heard[0] == 24
    assert content(path) == content(built(tmp_path / "again", played.coordinator))


@ON_A_CHAIN
@given(
    kept=st.integers(0, 2),
    dropped=st.integers(1, 3),
    instead=st.integers(0, 3),
    range_blocks=st.integers(1, 40),
)
def test_a_reorganised_chain_is_followed(
    played: StudyOnChain,
    chain: LocalChain,
    tmp_path: Path,
    kept: int,
    dropped: int,
    instead: int,
    range_blocks: int,
) -> None:
    path = fresh(tmp_path)
    ledger = played.coordinator
    with rolled_back(chain, played):
        ledger.abandon(ledger.current_round(), {})
        for _ in range(kept):
            abandoned_round(played)
        with rolled_back(chain, played):
            for _ in range(dropped):
                abandoned_round(played)
            built(path, ledger, range_blocks=range_blocks)
        pass_time(chain.rpc_url, 7)
        for _ in range(instead):
            abandoned_round(played, submitting=2)
        assert content(built(path, ledger)) == content(built(fresh(tmp_path), ledger))
    assert content(built(path, ledger)) == content(built(fresh(tmp_path), ledger))


@pytest.mark.parametrize(
    ("requests", "which"),
    [
        *(("fedchest.ledger.events.command", which) for which in (1, 2)),  # the logs of a range
        *(("fedchest.ledger.events.commands", which) for which in (1, 2, 3)),  # its blocks and receipts
        *(("fedchest.ledger.client.commands", which) for which in (1, 2, 3, 4, 5, 6)),  # hashes around it
    ],
)
def test_a_chain_rewritten_while_it_is_read_is_read_again(
    played: StudyOnChain,
    chain: LocalChain,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    requests: str,
    which: int,
) -> None:
    """The chain is rolled back, and goes on otherwise, right after one of the reader's requests."""
    request: Any = resolve_name(requests)
    w3 = connect(chain.rpc_url)
    path = tmp_path / "index"
    with rolled_back(chain, played):
        built(path, played.coordinator, range_blocks=20)
        played.coordinator.abandon(played.coordinator.current_round(), {})
        snapshot = command(w3, "evm_snapshot")
        abandoned_round(played)
        left = which

        def rewriting(*arguments: Any) -> Any:
            nonlocal left
            answer = request(*arguments)
            left -= 1
            if left == 0:
                command(w3, "evm_revert", snapshot)
                forget_sent(played)
                pass_time(chain.rpc_url, 9)
                abandoned_round(played, submitting=2)
            return answer

        with EventIndex(path, LedgerClient(chain.rpc_url, played.address)) as index:
            monkeypatch.setattr(requests, rewriting)
            index.sync(range_blocks=2)
            monkeypatch.undo()
        assert left <= 0
        assert content(path) == content(built(tmp_path / "again", played.coordinator))


def test_what_another_process_indexed_meanwhile_is_not_written_twice(
    played: StudyOnChain, chain: LocalChain, tmp_path: Path
) -> None:
    path = tmp_path / "index"

    class Slow(LedgerClient):
        def events(self, from_block: int = 0, to_block: int | None = None) -> list[Any]:
            found = super().events(from_block, to_block)
            built(path, played.coordinator)
            return found

    built(path, Slow(chain.rpc_url, played.address), range_blocks=5)
    assert content(path) == content(built(tmp_path / "again", played.coordinator))


def test_a_chain_that_never_holds_still_is_given_up(
    played: StudyOnChain, chain: LocalChain, tmp_path: Path
) -> None:
    class Restless(LedgerClient):
        def events(self, from_block: int = 0, to_block: int | None = None) -> list[Any]:
            raise ChainMoved("moved")

    ledger = Restless(chain.rpc_url, played.address)
    with EventIndex(tmp_path / "index", ledger) as index, pytest.raises(ChainMoved):
        index.sync()


def test_integers_beyond_sqlites_are_kept_exactly(chain: LocalChain, tmp_path: Path) -> None:
    study = StudyOnChain(chain.rpc_url, tmp_path, size=0, founders=1, founded=False, epsilon_budget=2**64 - 1)
    wallet, most = "0x" + "12" * 20, 2**64 - 1
    study.coordinator.register_founder(wallet, 1, most)
    with open_index(built(tmp_path / "index", study.coordinator)) as reader:
        assert list(reader.events())[-1]["values"]["epsilon_budget"] == most
        assert reader.budget()[0]["epsilon_budget"] == str(most)


def test_an_index_belongs_to_one_contract(played: StudyOnChain, chain: LocalChain, tmp_path: Path) -> None:
    path = built(tmp_path / "index", played.coordinator)
    before = content(path)
    other = StudyOnChain(chain.rpc_url, tmp_path, size=0)
    with pytest.raises(StoreError, match=f"contract {played.address}, not {other.address}"):
        EventIndex(path, other.coordinator)
    assert content(path) == before


def test_another_schema_is_to_be_built_again(played: StudyOnChain, tmp_path: Path) -> None:
    path = built(tmp_path / "index", played.coordinator)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="schema version 99"):
        EventIndex(path, played.coordinator)
    with pytest.raises(StoreError, match="schema version 99"), open_index(path):
        pass


def test_a_file_that_is_no_index_is_left_alone(played: StudyOnChain, tmp_path: Path) -> None:
    notes, other = tmp_path / "notes.txt", tmp_path / "other.sqlite"
    notes.write_text("mine, and longer than the header of an SQLite file is, so that it is looked at. " * 9)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (value)")
    for path in (notes, other):
        before = path.read_bytes()
        with pytest.raises(StoreError, match=path.name):
            EventIndex(path, played.coordinator)
        with pytest.raises(StoreError, match=path.name), open_index(path):
            pass
        assert path.read_bytes() == before
