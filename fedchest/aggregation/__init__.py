"""Pure functions on bytes and integers: check, aggregate, apply."""
