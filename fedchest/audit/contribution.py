"""What a trail says of contribution: the scores on chain, and the values and intervals that the records state."""

from fedchest.aggregation.record import RecordValue, RoundRecord
from fedchest.artifacts import ArtifactStore
from fedchest.audit.queries import IndexReader, Row, Selection


def contributions(trail: IndexReader, selection: Selection, artifacts: ArtifactStore) -> list[Row]:
    """Each scored update of the selected rounds: round, institution, score, value, low, high, credits.

    Value and interval are None where the round's record is not among the artifacts. Raises StoreError for a record that
    was changed.
    """
    scored = [row for row in trail.participation(selection) if row["score"] is not None]
    records = {row["round"]: row["record"] for row in trail.rounds()} if scored else {}
    stated = {
        round: _stated(artifacts, bytes.fromhex(records[round][2:]))
        for round in {row["round"] for row in scored}
    }
    return [_row(row, stated[row["round"]].get(row["institution"])) for row in scored]


def _stated(artifacts: ArtifactStore, digest: bytes) -> dict[int, RecordValue]:
    if digest not in artifacts:
        return {}
    contribution = RoundRecord.from_bytes(artifacts.get(digest)).contribution
    return {} if contribution is None else {value.institution: value for value in contribution.values}


def _row(scored: Row, stated: RecordValue | None) -> Row:
    return {
        "round": scored["round"],
        "institution": scored["institution"],
        "score": scored["score"],
        "value": None if stated is None else stated.value,
        "low": None if stated is None else stated.low,
        "high": None if stated is None else stated.high,
        "credits": scored["credits"],
    }
