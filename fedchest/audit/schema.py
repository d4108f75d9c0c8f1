"""The event index's schema: a table for each of the contract's events, made from its ABI, and views for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedchest.ledger.artifact import artifact
from fedchest.ledger.events import snake_case

APPLICATION_ID = int.from_bytes(b"FCix", "big")
"""Marks an SQLite file as an event index."""

SCHEMA_VERSION = 3

LOG_BITS = 24
"""An event's `position` is its block's number times 2**LOG_BITS plus its place in the block: the chain's order."""

COMMON = {
    "position": "INTEGER PRIMARY KEY",
    "block": "INTEGER NOT NULL",
    "timestamp": "INTEGER NOT NULL",
    "transaction_hash": "TEXT NOT NULL",
    "sender": "TEXT NOT NULL",
    "gas": "INTEGER NOT NULL",
}
"""Columns that every event's table begins with, and their declarations."""

_NAMED = ("reason", "cause")  # numbers on chain, names in the index
_WIDE = ("uint64", "uint256")  # may exceed SQLite's integers, and are text where they do


@dataclass(frozen=True)
class EventTable:
    """The table of one event: its own columns by name, each with its ABI type; tuples are spread over columns."""

    kind: str
    columns: Mapping[str, str]
    values: str
    """SQL expression for the event's values as a JSON object, without round and institution."""

    @property
    def name(self) -> str:
        """`update_submitted` for `UpdateSubmitted`."""
        return snake_case(self.kind).lstrip("_")

    def statements(self) -> list[str]:
        """What creates the table, its indexes, and the tables of its lists."""
        columns = COMMON | {name: _declaration(name, kind) for name, kind in self.columns.items()}
        body = ", ".join(f"{name} {declaration}" for name, declaration in columns.items())
        lists = [name for name, kind in self.columns.items() if kind == "uint16[]"]
        return [
            f"CREATE TABLE {self.name} ({body}) STRICT",
            *self._indexes(),
            *(statement for name in lists for statement in self._list(name)),
        ]

    def arm(self) -> str:
        """The table's part of the view `events`."""
        round, institution = (name if name in self.columns else "NULL" for name in ("round", "institution"))
        return (
            f"SELECT position, block, timestamp, {_iso('timestamp')} AS time, transaction_hash, sender, gas, "
            f"'{self.kind}' AS kind, {round} AS round, {institution} AS institution, "
            f'{self.values} AS "values" FROM {self.name}'
        )

    def _indexes(self) -> list[str]:
        keys: list[tuple[str, ...]] = [("timestamp",)]
        if "institution" in self.columns:
            keys += [("institution",), ("institution", "timestamp")]
        if "round" in self.columns:
            keys += [("round", "institution") if "institution" in self.columns else ("round",)]
        keys += [(name,) for name in UPDATE_HASHES if name in self.columns]
        return [
            f"CREATE INDEX {self.name}_by_{'_'.join(key)} ON {self.name} ({', '.join(key)})" for key in keys
        ]

    def _list(self, column: str) -> list[str]:
        """A list of institutions once more as rows, kept by triggers, so that it can be joined."""
        name = f"{self.name}_{column}"
        return [
            f"CREATE TABLE {name} (position INTEGER NOT NULL, round ANY NOT NULL, institution INTEGER NOT NULL) STRICT",
            f"CREATE INDEX {name}_by_round_institution ON {name} (round, institution)",
            f"CREATE INDEX {name}_by_institution ON {name} (institution)",
            f"CREATE TRIGGER {name}_added AFTER INSERT ON {self.name} BEGIN INSERT INTO {name} "
            f"SELECT NEW.position, NEW.round, value FROM json_each(NEW.{column}); END",
            f"CREATE TRIGGER {name}_removed AFTER DELETE ON {self.name} BEGIN DELETE FROM {name} "
            "WHERE round = OLD.round AND position = OLD.position; END",
        ]


UPDATE_HASHES = ("commitment", "sealed_hash", "plaintext_hash", "manifest_hash")
"""The hashes by which an update can be found."""


def _declaration(name: str, kind: str) -> str:
    if name in _NAMED or kind in _WIDE:
        return "ANY NOT NULL"
    if kind == "bool" or (kind.startswith("uint") and not kind.endswith("[]")):
        return "INTEGER NOT NULL"
    return "TEXT NOT NULL"


def _json(name: str, kind: str) -> str:
    """A column's value inside a JSON object: what isn't text there is written as JSON itself."""
    if kind == "bool":
        return f"json(iif({name}, 'true', 'false'))"
    if kind.endswith("[]") or (kind.startswith("uint") and name not in _NAMED):
        return f"json({name})"
    return name


def _iso(seconds: str) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%SZ', {seconds}, 'unixepoch')"


def _event_table(entry: Mapping[str, Any]) -> EventTable:
    columns: dict[str, str] = {}
    members: list[str] = []
    for field in entry["inputs"]:
        name = column_name(field["name"])
        inner = {snake_case(part["name"]): part["type"] for part in field.get("components", ())}
        columns |= inner or {name: field["type"]}
        if inner:
            members.append(f"'{name}', {_json_object(inner)}")
        elif name not in ("round", "institution"):
            members.append(f"'{snake_case(field['name'])}', {_json(name, field['type'])}")
    return EventTable(entry["name"], columns, f"json_object({', '.join(members)})")


def column_name(field: str) -> str:
    """The column of an event's field: its name, marked where it would be that of a common column."""
    name = snake_case(field)
    return f"event_{name}" if name in COMMON else name


def _json_object(columns: Mapping[str, str]) -> str:
    members = ", ".join(f"'{name}', {_json(name, kind)}" for name, kind in columns.items())
    return f"json_object({members})"


TABLES: Mapping[str, EventTable] = {
    entry["name"]: _event_table(entry)
    for entry in sorted(artifact().abi, key=lambda entry: str(entry.get("name")))
    if entry["type"] == "event"
}
"""The tables by the name of their event."""

KINDS = tuple(TABLES)
"""Names of the contract's events."""


_PRESENT_WALLET = """coalesce((SELECT k.new_wallet FROM key_rotated k WHERE k.institution = i.institution
                ORDER BY k.position DESC LIMIT 1), i.wallet)"""


def budget_select(condition: str = "TRUE") -> str:
    """Each institution's spend against its budget, by the last of its submissions that meets `condition`."""
    return f"""
        SELECT institution, wallet, weight_class, epsilon_budget, epsilon_spent,
            1.0 * epsilon_spent / nullif(epsilon_budget, 0) AS share, updates
        FROM (SELECT i.institution, {_PRESENT_WALLET} AS wallet, i.weight_class, i.epsilon_budget,
            coalesce((SELECT epsilon FROM update_submitted u WHERE u.institution = i.institution AND {condition}
                ORDER BY position DESC LIMIT 1), 0) AS epsilon_spent,
            (SELECT count(*) FROM update_submitted u WHERE u.institution = i.institution AND {condition}) AS updates
            FROM institution_registered i)"""


def rewards_select(condition: str = "TRUE") -> str:
    """Each institution's credits from the rounds that meet `condition`, and its share of all of those."""
    # The plus keeps SQLite from grouping by index order, which would fetch the rows one by one.
    return f"""
        SELECT i.institution, {_PRESENT_WALLET} AS wallet, i.weight_class, coalesce(c.rounds, 0) AS rounds,
            coalesce(c.credits, 0) AS credits, 1.0 * coalesce(c.credits, 0) / sum(c.credits) OVER () AS share
        FROM institution_registered i
        LEFT JOIN (SELECT institution, count(*) AS rounds, sum(amount) AS credits FROM credited WHERE {condition}
            GROUP BY +institution) c ON c.institution = i.institution"""


VIEWS: Mapping[str, str] = {
    "events": " UNION ALL ".join(table.arm() for table in TABLES.values()),
    "rounds": f"""
        SELECT o.round,
            CASE WHEN f.round IS NOT NULL THEN 'FINALIZED' WHEN v.round IS NOT NULL THEN 'VOID'
                WHEN p.round IS NOT NULL THEN 'PROPOSED'
                WHEN EXISTS (SELECT 1 FROM update_submitted u WHERE u.round = o.round) THEN 'SUBMITTING'
                ELSE 'OPEN' END AS phase, v.cause,
            o.timestamp, {_iso("o.timestamp")} AS opened, {_iso("p.timestamp")} AS proposed,
            {_iso("coalesce(f.timestamp, v.timestamp)")} AS ended,
            coalesce(f.timestamp, v.timestamp) - o.timestamp AS seconds,
            json_array_length(o.members) AS members, o.quorum,
            (SELECT count(*) FROM update_submitted u WHERE u.round = o.round) AS submitted,
            coalesce(json_array_length(p.accepted), 0) AS accepted,
            (SELECT count(*) FROM update_refused r WHERE r.round = o.round) AS refused,
            (SELECT count(*) FROM attested a WHERE a.round = o.round) AS attested,
            (SELECT count(*) FROM attested a WHERE a.round = o.round AND a.agrees
                AND a.position < coalesce(f.position, v.position, a.position + 1)) AS agreeing,
            (SELECT count(*) FROM attested a WHERE a.round = o.round AND NOT a.agrees
                AND a.position < coalesce(f.position, v.position, a.position + 1)) AS disagreeing,
            coalesce(p.deadline, o.deadline) AS deadline, o.base_model, p.new_model, p.record, o.config, o.parent
        FROM round_opened o
        LEFT JOIN aggregate_proposed p ON p.round = o.round
        LEFT JOIN round_finalized f ON f.round = o.round
        LEFT JOIN round_voided v ON v.round = o.round""",
    "updates": f"""
        SELECT u.round, u.institution, u.timestamp, {_iso("u.timestamp")} AS time, u.block, u.transaction_hash,
            u.commitment, u.sealed_hash, u.plaintext_hash, u.manifest_hash, u.weight_class, u.epsilon,
            u.epsilon - coalesce((SELECT p.epsilon FROM update_submitted p WHERE p.institution = u.institution
                AND p.position < u.position ORDER BY p.position DESC LIMIT 1), 0) AS charged,
            CASE WHEN a.round IS NOT NULL THEN 'ACCEPTED' WHEN r.round IS NOT NULL THEN 'REFUSED' END AS outcome,
            r.reason
        FROM update_submitted u
        LEFT JOIN aggregate_proposed_accepted a ON a.round = u.round AND a.institution = u.institution
        LEFT JOIN update_refused r ON r.round = u.round AND r.institution = u.institution""",
    "participation": """
        SELECT m.round, m.institution, o.timestamp, u.commitment, u.epsilon,
            CASE WHEN a.round IS NOT NULL THEN 'ACCEPTED' WHEN r.round IS NOT NULL THEN 'REFUSED' END AS outcome,
            r.reason, v.agrees, v.checks,
            (SELECT json_extract(p.scores, '$[' || s.key || ']') FROM aggregate_proposed p, json_each(p.accepted) s
                WHERE p.round = m.round AND s.value = m.institution) AS score,
            c.amount AS credits
        FROM round_opened_members m
        JOIN round_opened o ON o.round = m.round
        LEFT JOIN update_submitted u ON u.round = m.round AND u.institution = m.institution
        LEFT JOIN aggregate_proposed_accepted a ON a.round = m.round AND a.institution = m.institution
        LEFT JOIN update_refused r ON r.round = m.round AND r.institution = m.institution
        LEFT JOIN attested v ON v.round = m.round AND v.institution = m.institution
        LEFT JOIN credited c ON c.round = m.round AND c.institution = m.institution""",
    "institutions": f"""
        SELECT i.institution, {_PRESENT_WALLET} AS wallet, i.weight_class, i.epsilon_budget,
            CASE WHEN EXISTS (SELECT 1 FROM institution_revoked r WHERE r.institution = i.institution) THEN 'REVOKED'
                WHEN (SELECT max(s.position) FROM institution_suspended s WHERE s.institution = i.institution)
                    > coalesce((SELECT max(b.position) FROM institution_reinstated b
                        WHERE b.institution = i.institution), 0) THEN 'SUSPENDED'
                ELSE 'ACTIVE' END AS status,
            (SELECT count(*) FROM equivocation_proven e WHERE e.institution = i.institution) AS strikes,
            i.block, i.timestamp
        FROM institution_registered i""",
    "budget": budget_select(),
    "rewards": rewards_select(),
}
"""The views by name, each as its SELECT; docs/index.md says what their columns mean."""


def schema_script() -> str:
    """The SQL that makes an empty file an index, in one transaction."""
    statements = [
        f"PRAGMA application_id = {APPLICATION_ID}",
        f"PRAGMA user_version = {SCHEMA_VERSION}",
        "CREATE TABLE source (chain_id INTEGER NOT NULL, genesis TEXT NOT NULL, contract TEXT NOT NULL) STRICT",
        "CREATE TABLE checkpoints (block INTEGER PRIMARY KEY, hash TEXT NOT NULL) STRICT",
        *(statement for table in TABLES.values() for statement in table.statements()),
        *(f"CREATE VIEW {name} AS {select}" for name, select in VIEWS.items()),
    ]
    return "BEGIN;\n" + ";\n".join(statements) + ";\nCOMMIT;"
