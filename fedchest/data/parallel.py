"""Work on a cohort spread over all cores, in processes that end when their parent does."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from fedchest.errors import DataError

Part = TypeVar("Part")
Result = TypeVar("Result")


@contextmanager
def worked_through(
    work: Callable[[Part], Result], parts: Sequence[Part], *, in_processes: bool
) -> Iterator[Iterator[Result]]:
    """`work` of each part, in order: here, or in as many other processes as there are usable cores.

    For the latter `work` and what it takes and gives must be picklable, and a script needs the usual guard of its
    main part. When the block ends early, parts not yet begun are dropped and no process is left. What `work` raises
    is raised here; DataError when a process is killed.
    """
    if not in_processes:
        yield map(work, parts)
        return
    # A fork of a process that has torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    cores = len(os.sched_getaffinity(0))
    pool = ProcessPoolExecutor(cores, mp_context=context, initializer=_live_and_die_with_parent)
    try:
        yield pool.map(work, parts)
    except BrokenProcessPool:
        raise DataError(
            "A helping process ended early: for lack of memory, or since the script that asked for it lacks the "
            'line `if __name__ == "__main__":`.'
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def refuse_while_importing_main() -> None:
    """Raise RuntimeError in a helping process that runs its parent's unguarded script instead of importing it.

    To be called before waiting for what the parent holds. Python asks the same attribute before it starts a process.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError('The script lacks the line `if __name__ == "__main__":` before what it does.')


def _live_and_die_with_parent() -> None:
    """Ctrl-C reaches the whole group, and the parent ends the pool; a parent that was killed can't."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
