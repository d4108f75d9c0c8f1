"""Small federations for benchmarks: rendered patients, a local chain, the in-process engine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedchest.data.phantom.writer import write_phantom_cohort
from fedchest.federation.config import Settings, read_settings
from fedchest.federation.directory import CONNECTION, Connection, RunDirectory, read_document
from fedchest.federation.engines.in_process import run_in_process
from fedchest.federation.prepare import PreparedRun, prepare
from fedchest.federation.results import Results, collect
from fedchest.federation.run import chain_of, found_study
from fedchest.ledger.client import LedgerClient

Overrides = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Federation:
    """A founded study on a running chain."""

    prepared: PreparedRun
    settings: Settings

    @property
    def directory(self) -> RunDirectory:
        """Where its parties' folders are."""
        return self.prepared.directory

    def run(self) -> Results:
        """Run all rounds in process and gather the figures."""
        run_in_process(self.directory, workers=self.settings.run.workers)
        connection = read_document(self.directory.coordinator / CONNECTION, Connection)
        ledger = LedgerClient(connection.rpc_url, connection.contract)
        return collect(self.directory, self.prepared.study, ledger, self.settings, {})


def render(folder: Path, *, patients: int, size: int) -> Path:
    """Render patients without a public set, so that no round is spent on evaluation."""
    write_phantom_cohort(
        folder, patients=patients, validation_patients=0, size=size, seed=7, sites=1, masks=False
    )
    return folder


@contextmanager
def founded(root: Path, overrides: Overrides) -> Iterator[Federation]:
    """A federation below `root` while the block runs."""
    settings = read_settings(None, overrides)
    prepared = prepare(settings, root)
    with chain_of(prepared.directory, settings) as rpc_url:
        found_study(prepared, settings, rpc_url)
        yield Federation(prepared, settings)
