"""Encoders, heads and what they are built of."""
