"""A study's ledger, whatever keeps it: the contract on a chain (client.py), or a hash-chained file (file/ledger.py).

Both pass tests/ledger/test_conformance.py. Who reads or acts depends on this class and on neither of them.
"""

from abc import abstractmethod

from fedchest.ledger.actions import Actions


class Ledger(Actions):
    """One party's access to a study's ledger. Without a wallet it only reads."""

    @abstractmethod
    def sync(self) -> None:
        """Bring the party's own record up to the head. Raises ChainError when the ledger was rolled back."""
