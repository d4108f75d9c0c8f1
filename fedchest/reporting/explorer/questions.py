"""What the explorer's pages ask of an event index, a page at a time by key, so that a long study costs no more."""

from typing import Any

from fedchest.audit.queries import IndexReader, Row, Selection
from fedchest.audit.schema import TABLES

PAGE = 50
"""Rows on a page."""

BINS = 100
"""Bars in the picture of the whole study."""

_PAST_THE_LAST = 2**63 - 1  # an event's position is below


def standing(trail: IndexReader) -> Row:
    """Which chain and contract the index is of, and the last block in it."""
    return _one(
        trail, "SELECT chain_id, genesis, contract, (SELECT max(block) FROM checkpoints) AS block FROM source"
    )


def tally(trail: IndexReader) -> Row:
    """How many rounds, institutions and updates there are, and how they ended."""
    return _one(
        trail,
        """SELECT (SELECT coalesce(max(round), 0) FROM round_opened) AS newest,
            (SELECT count(*) FROM round_opened) AS rounds,
            (SELECT count(*) FROM round_finalized) AS finalized,
            (SELECT count(*) FROM round_voided) AS void,
            (SELECT count(*) FROM institution_registered) AS institutions,
            (SELECT count(*) FROM update_submitted) AS updates,
            (SELECT count(*) FROM update_refused) AS refusals""",
    )


def course(trail: IndexReader, newest: int) -> list[Row]:
    """The study in at most BINS stretches of rounds: first and last round, how many were finalized and void."""
    width = -(-newest // BINS) or 1
    bins = f"(round - 1) / {width} AS bin, count(*) AS times"
    finalized, void = (
        {row["bin"]: row["times"] for row in trail.query(f"SELECT {bins} FROM {table} GROUP BY bin", {})}
        for table in ("round_finalized", "round_voided")
    )
    return [
        {
            "first": bin * width + 1,
            "last": min((bin + 1) * width, newest),
            "finalized": finalized.get(bin, 0),
            "void": void.get(bin, 0),
        }
        for bin in range(-(-newest // width))
    ]


def rounds(trail: IndexReader, newest: int) -> list[Row]:
    """The rounds from `newest` back, as the view `rounds` has them."""
    return _some(trail, "SELECT * FROM rounds WHERE round <= :key ORDER BY round DESC LIMIT :limit", newest)


def members(trail: IndexReader, round: int, first: int) -> list[Row]:
    """What each member of a round did, from institution `first` on; one more than a page if there are more."""
    return _some(
        trail,
        """SELECT p.*, v.recomputed_model, v.timestamp AS voted FROM participation p
        LEFT JOIN attested v ON v.round = p.round AND v.institution = p.institution
        WHERE p.round = :round AND p.institution >= :key ORDER BY p.institution LIMIT :limit""",
        first,
        more=1,
        round=round,
    )


def refusals(trail: IndexReader, round: int) -> list[Row]:
    """The refusals of a round by reason: how often, and the first institutions."""
    sql = """SELECT reason, count(*) AS times, json_group_array(institution) AS institutions
        FROM update_refused WHERE round = :round GROUP BY reason ORDER BY times DESC"""
    return list(trail.query(sql, {"round": round}))


def history(trail: IndexReader, institution: int, newest: int) -> list[Row]:
    """The rounds that an institution is a member of, from `newest` back; one more than a page if there are more."""
    return _some(
        trail,
        """SELECT p.*, r.phase FROM participation p JOIN rounds r ON r.round = p.round
        WHERE p.institution = :institution AND p.round IN (SELECT round FROM round_opened_members
            WHERE institution = :institution AND round <= :key ORDER BY round DESC LIMIT :limit)
        ORDER BY p.round DESC""",
        newest,
        more=1,
        institution=institution,
    )


def credits_of(trail: IndexReader, institution: int) -> Row:
    """How many rounds earned the institution credits, and how many credits."""
    return _one(
        trail,
        """SELECT count(*) AS rounds_credited, coalesce(sum(amount), 0) AS credits FROM credited
        WHERE institution = :institution""",
        institution=institution,
    )


def institutions(trail: IndexReader, first: int) -> list[Row]:
    """The registered institutions from `first` on; one more than a page if there are more."""
    return _by_institution(trail, "institutions", first)


def budgets(trail: IndexReader, first: int) -> list[Row]:
    """Each institution's epsilon against its budget, from `first` on; one more than a page if there are more."""
    return _by_institution(trail, "budget", first)


def rewards(trail: IndexReader, first: int) -> list[Row]:
    """Each institution's credits, from `first` on; one more than a page if there are more."""
    return _by_institution(trail, "rewards", first)


def lineage(trail: IndexReader, newest: int) -> list[Row]:
    """The proposed models from round `newest` back, each with the finalized round it starts from (`parent`)."""
    return _some(
        trail,
        """SELECT r.* FROM rounds r WHERE r.round IN
            (SELECT round FROM aggregate_proposed WHERE round <= :key ORDER BY round DESC LIMIT :limit)
        ORDER BY r.round DESC""",
        newest,
        more=1,
    )


def events(trail: IndexReader, selection: Selection, before: int | None = None) -> list[Row]:
    """The selected events of every kind, newest first, from before a position; one more than a page if there are."""
    names = ("round", "institution", "kind")
    asked = {**selection.parameters, "before": _PAST_THE_LAST if before is None else before}
    first = _first_position(trail, selection, asked)
    sql = f"""SELECT position, block, time, transaction_hash, sender, gas, kind, round, institution, "values"
        FROM events WHERE {selection.condition(*names)} AND position < :before AND position >= :first
        ORDER BY position DESC"""
    return [] if first is None else list(trail.query(sql, {**asked, "first": first}))


def _first_position(trail: IndexReader, selection: Selection, asked: Row) -> int | None:
    """Where the page of events before `asked["before"]` begins; None for an empty one.

    SQLite would sort all of the view `events`: each table gives its own last few instead.
    """
    keys = {"round", "institution"}.intersection(selection.given)
    condition = selection.condition(*keys)
    arms = [
        f"SELECT * FROM (SELECT position FROM {table.name} WHERE {condition} AND position < :before "
        "ORDER BY position DESC LIMIT :limit)"
        for kind, table in TABLES.items()
        if keys <= table.columns.keys() and selection.kind in (None, kind)
    ]
    if not arms:
        return None
    union = f"SELECT position FROM ({' UNION ALL '.join(arms)}) ORDER BY position DESC LIMIT :limit"
    (row,) = trail.query(f"SELECT min(position) AS first FROM ({union})", {**asked, "limit": PAGE + 1})
    first: int | None = row["first"]
    return first


def _by_institution(trail: IndexReader, table: str, first: int) -> list[Row]:
    sql = f"SELECT * FROM {table} WHERE institution >= :key ORDER BY institution LIMIT :limit"
    return _some(trail, sql, first, more=1)


def _some(trail: IndexReader, sql: str, key: int, *, more: int = 0, **parameters: Any) -> list[Row]:
    return list(trail.query(sql, {**parameters, "key": key, "limit": PAGE + more}))


def _one(trail: IndexReader, sql: str, **parameters: Any) -> Row:
    (row,) = trail.query(sql, parameters)
    return row
