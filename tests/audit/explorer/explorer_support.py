"""What the explorer's tests share beside their fixtures."""

ADDRESS = "http://127.0.0.1:8765"
"""Where requests of the tests that need no server seem to go."""
