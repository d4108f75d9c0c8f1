"""Waiting for a chain: every wait ends, and the pauses between two looks grow and are never quite the same."""

import math
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)

_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 1.0


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """All waiting for a chain in the block takes at most `seconds` together, or what an outer block leaves."""
    token = _deadline.set(min(_deadline.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _deadline.reset(token)


def time_left() -> float:
    """Seconds that the blocks around leave for waiting: infinite outside of any, never negative."""
    return max(_deadline.get() - time.monotonic(), 0.0)


def looks(seconds: float = math.inf) -> Iterator[None]:
    """One step now, and one after each of doubling pauses until `seconds` or the time of the blocks around are over.

    Each pause is shortened at random, so that parties which lost the same chain don't come back in step.
    """
    end = time.monotonic() + min(seconds, time_left())
    pause = _FIRST_PAUSE_SECONDS
    yield
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, pause * random.uniform(0.5, 1.0)))
        yield
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
