"""From a run, a node or an index file to a trail that can be asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fedchest.audit.index import EventIndex
from fedchest.audit.queries import IndexReader, open_index
from fedchest.audit.source import run_ledger
from fedchest.errors import ConfigError
from fedchest.federation.directory import RunDirectory


@contextmanager
def open_trail(run: Path, rpc_url: str | None = None) -> Iterator[IndexReader]:
    """The trail of a run, from its chain, or that of an index file as it stands. Raises as `trail_index`."""
    with trail_index(run, rpc_url) as path, open_index(path) as reader:
        yield reader


@contextmanager
def trail_index(run: Path, rpc_url: str | None = None) -> Iterator[Path]:
    """The index file of a run, made from its chain for as long as the context lasts, or `run` if it is one.

    The index of a run is a temporary file, so that nothing is written into the run. Raises as `run_ledger` and
    `open_index`, and ConfigError for an address beside an index file.
    """
    if run.is_file():
        if rpc_url is not None:
            raise ConfigError(f"--rpc {rpc_url}: {run} is an index file; fedchest audit index continues it.")
        with open_index(run):
            yield run
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / "index.sqlite"
        with run_ledger(RunDirectory(run), rpc_url) as ledger, EventIndex(path, ledger) as index:
            index.sync()
        yield path
