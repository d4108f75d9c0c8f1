"""Codec, sealing, commitments, keys and randomness: what stands between an update and the outside."""
