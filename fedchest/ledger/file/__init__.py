"""The ledger as a hash-chained file, for who can't run a chain (docs/file-ledger.md)."""
