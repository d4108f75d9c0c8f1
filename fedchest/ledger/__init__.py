"""The smart contract, the local chain, its journal, and the client that talks to them."""

import sys

# py_ecc, which web3 brings in, raises the limit so far that deeply nested JSON of another party would end the process
# by a stack overflow; it does so when it is first imported, so it is imported here.
_limit = sys.getrecursionlimit()
import py_ecc  # noqa: E402, F401

sys.setrecursionlimit(_limit)
