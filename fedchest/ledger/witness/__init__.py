"""Consensus on the chain: witnesses re-execute its blocks and cosign them; a quorum of cosignatures makes one final."""
