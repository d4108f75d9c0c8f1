"""Work on a cohort spread over all cores, in processes that end when their parent does."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from fedchest.errors import DataError

Part = TypeVar("Part")
Result = TypeVar("Result")


def in_processes(work: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
    """`work` of each part, in order, on as many processes as there are usable cores.

    `work` and what it takes and gives must be picklable, and a script that gets here needs the usual guard of its
    main part. When the caller stops early, parts not yet begun are dropped. What `work` raises is raised here;
    DataError when a process is killed.
    """
    # A fork of a process that has torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, mp_context=context, initializer=_live_and_die_with_parent) as pool:
        try:
            yield from pool.map(work, parts)
        except BrokenProcessPool:
            raise DataError("A helping process was killed, for lack of memory perhaps.") from None


def _live_and_die_with_parent() -> None:
    """Ctrl-C reaches the whole group, and the parent ends the pool; a parent that was killed can't."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
