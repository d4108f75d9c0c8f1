"""Witnesses, as a table for a terminal."""

from rich.table import Table

from fedchest.ledger.witness.tally import Tally


def members_table(tally: Tally) -> Table:
    """How far each member cosigned, and how many heights it gave two answers for."""
    table = Table(title=f"{len(tally.roster.members)} witnesses, quorum {tally.roster.quorum}")
    table.add_column("witness")
    table.add_column("cosigned up to", justify="right")
    table.add_column("two answers", justify="right")
    doubled = [found.signer for found in tally.equivocations()]
    for member, height in tally.heights().items():
        table.add_row(member, str(height), str(doubled.count(member)))
    return table
