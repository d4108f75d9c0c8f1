"""Both apps in this process: milliseconds a round beside the training itself, and a debugger can follow."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedchest.federation.apps import client_app, server_app
from fedchest.federation.directory import RunDirectory
from fedchest.federation.sites import COORDINATOR_VARIABLE

_CLIENT_FAILED = 0


class InProcessGrid(Grid):
    """Hands messages straight to one ClientApp a node; nodes are numbered from 1, node i serves folder i - 1."""

    def __init__(self, apps: Sequence[ClientApp], folders: Sequence[str], workers: int) -> None:
        # Messages need to know their sender; Flower's own processes set this at start.
        TaskIdentity.task_id = TaskIdentity.run_id = 1
        TaskIdentity.node_id = 0
        self._apps = dict(enumerate(apps, start=1))
        self._contexts = {
            node: Context(
                run_id=1, node_id=node, node_config={"site": folder}, state=RecordDict(), run_config={}
            )
            for node, folder in enumerate(folders, start=1)
        }
        self._workers = workers

    def set_run(self, run: Run) -> None:
        """Nothing to set: there is one run."""

    @property
    def run(self) -> Run:
        """The one run of this process."""
        return Run.create_empty(run_id=1)

    def get_node_ids(self) -> Iterable[int]:
        """All nodes, always online."""
        return list(self._contexts)

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Not offered: Flower's own Message is made directly."""
        raise NotImplementedError("create a flwr.app.Message")

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Not offered: replies are made while the message is sent."""
        raise NotImplementedError("the in-process grid sends and receives in one call")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Not offered: replies are made while the message is sent."""
        raise NotImplementedError("the in-process grid sends and receives in one call")

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """The nodes' replies; at most `workers` nodes work at the same time."""
        with ThreadPoolExecutor(max_workers=self._workers) as pool:
            return list(pool.map(self._deliver, messages))

    def _deliver(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        try:
            return self._apps[node](message, self._contexts[node])
        except Exception as error:  # as Flower does: a failing client is an error reply, not a failing server
            return Message(Error(code=_CLIENT_FAILED, reason=type(error).__name__), reply_to=message)


def run_in_process(
    directory: RunDirectory,
    *,
    workers: int,
    apps: Sequence[ClientApp] | None = None,
    server: ServerApp | None = None,
) -> None:
    """Run the study's remaining rounds. `apps` and `server` stand in for the real ones where a test needs a liar."""
    folders = [str(folder) for folder in directory.institutions()]
    clients = apps if apps is not None else [client_app()] * len(folders)
    grid = InProcessGrid(clients, folders, workers)
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config={})
    with _environment(COORDINATOR_VARIABLE, str(directory.coordinator)):
        (server or server_app())(grid, context)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
