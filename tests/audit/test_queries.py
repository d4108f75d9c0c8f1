"""What is asked of an index: filters against the chain's own list, SQL that can only read, and the commands."""

import csv
import io
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from audit_support import NEVER_IN_AN_OPEN_STUDY, event_json
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from studies import HASHES, StudyOnChain

from fedchest.audit.index import EventIndex
from fedchest.audit.queries import EXPORTS, IndexReader, Selection, kind_named, open_index
from fedchest.audit.schema import KINDS
from fedchest.cli.audit import audit
from fedchest.errors import ConfigError, FedChestError, StoreError
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.records import Event

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def index(played: StudyOnChain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "trail.sqlite"
    with EventIndex(path, played.coordinator) as building:
        building.sync()
    return path


@pytest.fixture(scope="module")
def events(played: StudyOnChain) -> list[Event]:
    return played.coordinator.events()


@pytest.fixture
def reader(index: Path) -> Iterator[IndexReader]:
    with open_index(index) as opened:
        yield opened


# Filters.


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_filters_select_what_the_chain_has(
    reader: IndexReader, events: list[Event], data: st.DataObject
) -> None:
    times = st.sampled_from(sorted({event.timestamp + off for event in events for off in (0, 1)}))
    selection = Selection(
        round=data.draw(st.none() | st.integers(-1, 8) | st.just(2**70)),
        institution=data.draw(st.none() | st.integers(0, 4)),
        kind=data.draw(st.none() | st.sampled_from(KINDS)),
        since=data.draw(st.none() | times),
        until=data.draw(st.none() | times),
    )
    expected = [
        event_json(event)
        for event in events
        if selection.round in (None, event.round)
        and selection.institution in (None, event.institution)
        and selection.kind in (None, event.name)
        and (selection.since is None or event.timestamp >= selection.since)
        and (selection.until is None or event.timestamp < selection.until)
    ]
    assert list(reader.events(selection)) == expected


def test_the_budget_as_of_a_time_and_in_a_round(reader: IndexReader, events: list[Event]) -> None:
    third = next(event for event in events if event.name == "RoundOpened" and event.round == 3)
    spent = {
        row["institution"]: row["epsilon_spent"] for row in reader.budget(Selection(until=third.timestamp))
    }
    assert spent == {0: 2_000_000, 1: 1_000_000, 2: 0, 3: 0, 4: 0}
    in_round = reader.budget(Selection(round=3, institution=2))
    assert [(row["epsilon_spent"], row["updates"]) for row in in_round] == [(3_000_000, 1)]


def test_the_rewards_of_a_round(reader: IndexReader) -> None:
    assert [row["credits"] for row in reader.rewards(Selection(round=5))] == [500_000, 500_000, 0, 0, 0]
    assert {row["credits"] for row in reader.rewards(Selection(round=2))} == {0}


def test_institutions_are_as_the_contract_holds_them(reader: IndexReader, played: StudyOnChain) -> None:
    told = [
        (row["institution"], row["wallet"], row["status"], row["strikes"])
        for row in reader.export("institutions")
    ]
    assert told == [(i.id, i.wallet, i.status.name, i.strikes) for i in played.coordinator.institutions()]
    assert {row[2] for row in told} == {"ACTIVE", "REVOKED"}
    assert told[0][3] == 1


def test_participation_tells_what_each_member_did(reader: IndexReader) -> None:
    rows = reader.participation(Selection(round=3))
    told = [
        (row["institution"], row["epsilon"], row["outcome"], row["reason"], row["agrees"]) for row in rows
    ]
    assert told == [
        (0, 3_000_000, "ACCEPTED", None, 0),
        (1, 3_000_000, "ACCEPTED", None, 0),
        (2, 3_000_000, "REFUSED", "NORM_EXCEEDED", 1),
        (3, None, "REFUSED", 200, None),
    ]


def test_what_each_update_charged(reader: IndexReader) -> None:
    charged: dict[int, list[int]] = {}
    for row in reader.export("updates"):
        charged.setdefault(row["institution"], []).append(row["charged"])
    million = 1_000_000
    assert charged == {
        0: [million] * 5,
        1: [million, 2 * million, million, million],
        2: [3 * million],
        3: [6 * million],
    }


def test_an_update_is_found_by_each_of_its_hashes(reader: IndexReader, played: StudyOnChain) -> None:
    submission = played.coordinator.submission(3, 2)
    assert submission is not None
    (found,) = reader.updates(submission.commitment.hex())
    assert (found["round"], found["institution"], found["outcome"]) == (3, 2, "REFUSED")
    assert (found["reason"], found["charged"]) == ("NORM_EXCEEDED", 3_000_000)
    assert reader.updates("0x" + submission.commitment.hex()[:8].upper()) == [found]
    for digest in HASHES:  # which are the same in every round of this study
        assert found in reader.updates(digest.hex())


@pytest.mark.parametrize("digest", ["", "0x", "xyz", "0x1234567", "0" * 65, "' OR 1=1 --", "00000000"])
def test_what_is_no_hash_of_an_update_is_named(reader: IndexReader, digest: str) -> None:
    with pytest.raises(ConfigError, match=f"update {digest}:"):
        reader.updates(digest)


def test_names_of_kinds_and_institutions(reader: IndexReader, played: StudyOnChain) -> None:
    assert kind_named("updaterefused") == "UpdateRefused"
    with pytest.raises(ConfigError, match="AggregateProposed, AllowanceChanged, AnsweredFor, Attested"):
        kind_named("Nothing")
    assert reader.institution_number("1") == 1
    assert reader.institution_number(played.wallets[2].address.lower()) == 2
    with pytest.raises(ConfigError, match="institution 5: the run has institutions 0 to 4"):
        reader.institution_number("5")


# SQL of the user's own.


def test_sql_reads_tables_and_views(reader: IndexReader) -> None:
    (row,) = reader.select("SELECT count(*) AS votes, sum(agrees) AS agreeing FROM attested WHERE round = 3")
    assert row == {"votes": 3, "agreeing": 1}
    assert reader.select("SELECT x'00ff' AS bytes, 1e999 AS large, NULL AS missing") == [
        {"bytes": "0x00ff", "large": "inf", "missing": None}
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM credited",
        "UPDATE credited SET amount = 0",
        "INSERT INTO checkpoints VALUES (9, 'x')",
        "DROP VIEW events",
        "CREATE TABLE mine (value)",
        "CREATE TEMP TABLE mine (value)",
        "ATTACH 'other.sqlite' AS other",
        "PRAGMA query_only = OFF",
        "PRAGMA table_info(credited)",
        "VACUUM INTO 'copy.sqlite'",
        "SELECT load_extension('x.so')",
        "BEGIN",
        "SELECT 1; DELETE FROM credited",
        "SELECT * FROM nothing",
        "SELEC 1",
        "SELECT ?",
        "SELECT zeroblob(1000000000)",
        "SELECT CAST(x'ff' AS TEXT)",
        "SELECT '\udcff'",
        "SELECT 1 AS same, 2 AS same",
    ],
)
def test_sql_that_is_refused_is_one_sentence_and_changes_nothing(
    reader: IndexReader, index: Path, sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = index.read_bytes()
    with pytest.raises(ConfigError, match=r"The query (was refused|gives two columns)"):
        reader.select(sql)
    assert index.read_bytes() == before
    assert not (tmp_path / "other.sqlite").exists()
    assert not (tmp_path / "copy.sqlite").exists()
    assert len(list(reader.events())) > 0


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {} FROM n"


def test_sql_is_bounded_in_time_and_rows(reader: IndexReader) -> None:
    start = time.monotonic()
    with pytest.raises(ConfigError, match=r"longer than 0\.2 seconds"):
        reader.select(ENDLESS.format("sum(i)"), seconds=0.2)
    assert time.monotonic() - start < 3
    with pytest.raises(ConfigError, match="more than 50 rows"):
        reader.select(ENDLESS.format("i"), rows=50)
    assert len(reader.select("SELECT * FROM events LIMIT 20", rows=20)) == 20


def test_ctrl_c_ends_a_query(reader: IndexReader) -> None:
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        reader.select(ENDLESS.format("sum(i)"), seconds=20)
    timer.join()


# The commands.


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(audit, [str(argument) for argument in arguments], standalone_mode=False)


def lines(*arguments: object) -> list[Any]:
    result = invoke(*arguments, "--json")
    assert result.exception is None, result.exception
    return [json.loads(line) for line in result.output.splitlines()]


def test_log_of_an_index(index: Path, events: list[Event]) -> None:
    assert lines("log", index) == [event_json(event) for event in events]
    refused = lines("log", index, "--kind", "updaterefused", "--institution", 3, "--round", 3)
    assert [row["values"] for row in refused] == [{"reason": 200}]
    whole_day = event_json(events[0])["time"][:10]
    assert lines("log", index, "--until", whole_day) == []
    assert len(lines("log", index, "--since", whole_day)) == len(events)


def test_show_a_round_an_institution_and_an_update(index: Path, played: StudyOnChain) -> None:
    (round,) = lines("show", "round", index, 3)
    assert (round["cause"], len(round["participation"])) == ("REJECTED", 4)
    (institution,) = lines("show", "institution", index, played.wallets[1].address)
    assert (institution["institution"], institution["credits"]) == (1, 1_000_000)
    assert [row["round"] for row in institution["participation"]] == [1, 2, 3, 4, 5, 6]
    submission = played.coordinator.submission(6, 3)
    assert submission is not None
    (update,) = lines("show", "update", index, submission.commitment.hex())
    assert (update["round"], update["institution"], update["outcome"]) == (6, 3, None)


@pytest.mark.parametrize(
    "arguments",
    [
        ("log",),
        ("rounds",),
        ("budget",),
        ("rewards",),
        ("show", "round", 3),
        ("show", "institution", 2),
        ("show", "update", HASHES[0].hex()),
        ("sql", "SELECT * FROM round_opened"),
    ],
)
def test_each_question_has_a_table(index: Path, arguments: tuple[object, ...]) -> None:
    place = 2 if arguments[0] == "show" else 1
    result = invoke(*arguments[:place], index, *arguments[place:])
    assert result.exception is None, result.exception
    assert len(result.output.splitlines()) > 4


@pytest.mark.parametrize("command", ["rounds", "budget"])
def test_pictures(index: Path, tmp_path: Path, command: str) -> None:
    picture = tmp_path / "picture.png"
    assert invoke(command, index, "--picture", picture).exception is None
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("table", EXPORTS)
def test_csv_and_json_lines_hold_the_table(
    index: Path, reader: IndexReader, tmp_path: Path, table: str
) -> None:
    expected = list(reader.export(table))
    assert expected or table in NEVER_IN_AN_OPEN_STUDY
    assert lines("export", index, "--table", table) == expected
    file = tmp_path / "table.csv"
    assert invoke("export", index, "--table", table, "--out", file).exception is None
    written = list(csv.DictReader(io.StringIO(file.read_text())))
    as_text = [
        {
            name: ""
            if value is None
            else json.dumps(value)
            if isinstance(value, (dict, list))
            else str(value)
            for name, value in row.items()
        }
        for row in expected
    ]
    assert written == as_text
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("log", "INDEX", "--kind", "Nothing"), ("--kind Nothing", "RoundOpened")),
        (("log", "INDEX", "--since", "soon"), ("--since soon", "ISO 8601")),
        (("log", "INDEX", "--institution", "9"), ("institution 9", "0 to 4")),
        (("show", "round", "INDEX", "7"), ("round 7", "1 to 6")),
        (("show", "institution", "INDEX", "x"), ("institution x", "0 to 4")),
        (("show", "update", "INDEX", "12345678"), ("update 12345678", "commitment")),
        (("export", "INDEX", "--table", "rounds", "--kind", "Attested"), ("--kind Attested", "rounds")),
        (("export", "INDEX", "--out", "/nowhere/file.csv"), ("/nowhere/file.csv",)),
        (("log", "INDEX", "--rpc", "http://127.0.0.1:9"), ("--rpc", "index file")),
        (("log", "/nowhere"), ("/nowhere", "does not exist")),
        (("index", "--out", "/nowhere/x"), ("--rpc", "--contract")),
    ],
)
def test_bad_input_is_one_sentence(index: Path, arguments: tuple[str, ...], named: tuple[str, ...]) -> None:
    fault = invoke(*(str(index) if part == "INDEX" else part for part in arguments)).exception
    assert isinstance(fault, FedChestError)
    assert all(part in str(fault) for part in named), fault


def test_a_damaged_index_is_one_sentence(index: Path, tmp_path: Path) -> None:
    content = bytearray(index.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    damaged = tmp_path / "damaged"
    damaged.write_bytes(content)
    fault = invoke("log", damaged).exception
    assert isinstance(fault, StoreError)
    assert str(damaged) in str(fault)


def test_an_index_is_built_and_continued_from_a_run(finished_run: Any, node: str, tmp_path: Path) -> None:
    out = tmp_path / "trail.sqlite"
    before = {path: path.stat().st_mtime_ns for path in finished_run.root.rglob("*")}
    (from_journals,) = lines("index", finished_run.root, "--out", out)
    (continued,) = lines("index", finished_run.root, "--out", out, "--rpc", node)
    assert continued == from_journals
    assert lines("log", out) == lines("log", finished_run.root, "--rpc", node)
    assert {path: path.stat().st_mtime_ns for path in finished_run.root.rglob("*")} == before


def test_an_index_of_a_contract_at_a_node(played: StudyOnChain, chain: LocalChain, tmp_path: Path) -> None:
    out = tmp_path / "trail.sqlite"
    for _ in range(2):
        (reached,) = lines("index", "--rpc", chain.rpc_url, "--contract", played.address, "--out", out)
        assert reached["block"] == played.coordinator.head()[0]
    assert lines("log", out) == [event_json(event) for event in played.coordinator.events()]
