"""The contract's rules in Python: what each action changes, which events it causes, by which error it is refused.

Written from docs/ledger.md and not from the Solidity; tests/ledger/test_ledger_model.py runs both on the same random
sequences. Every action is checked before anything changes: one that is refused leaves the state as it was.
"""
