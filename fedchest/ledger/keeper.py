"""Keeping a local chain up: a node that dies is started again from the journal, at the same address."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock

from fedchest.errors import FedChestError
from fedchest.ledger.chain import LocalChain, OutlivingThread

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2


@contextmanager
def kept_running(chain: LocalChain, recover: Callable[[], None]) -> Iterator[None]:
    """Start the chain again whenever its node dies, until the block ends, and stop it then.

    `recover` completes its journal before. A restart that fails is logged and not tried again: whoever waits for the
    chain is told when its patience ends.
    """
    done, stopped, acting = Event(), Event(), Lock()

    def keep() -> None:
        while not done.wait(_LOOK_SECONDS):
            with acting:
                if not done.is_set() and not chain.running and not _restarted(chain, recover):
                    break
        stopped.wait()  # since a node that this thread started ends with it

    keeper = OutlivingThread(target=keep, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        with acting:
            done.set()
        chain.stop()
        stopped.set()
        keeper.join()


def _restarted(chain: LocalChain, recover: Callable[[], None]) -> bool:
    log.warning("The local chain died; it is rebuilt from the journals.")
    try:
        recover()
        chain.start()
    except FedChestError as error:
        log.error("The local chain can't be started again: %s", error)
        return False
    return True
