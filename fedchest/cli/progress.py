"""Live progress of a run: follows what the parties write down and shows one line a hospital."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fedchest.federation.directory import RunDirectory
from fedchest.federation.progress import ProgressReader

POLL_SECONDS = 0.5
MOST_LINES = 12


@contextmanager
def live_progress(root: Path, console: Console) -> Iterator[None]:
    """Show what happens below `root` while the block runs."""
    stop = threading.Event()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} steps  {task.fields[label]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as display:
        follower = threading.Thread(target=_Follower(root, display).follow, args=(stop,), daemon=True)
        follower.start()
        try:
            yield
        finally:
            stop.set()
            follower.join()


@contextmanager
def index_progress(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show how far an index has come; yields what hears the last block indexed and the chain's height."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("block {task.completed:.0f} of {task.total:.0f}"),
    )
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as display:
        bar = display.add_task("Indexing", total=0)
        yield lambda block, height: display.update(bar, completed=max(block, 0), total=height)


class _Follower:
    def __init__(self, root: Path, display: Progress) -> None:
        self._directory = RunDirectory(root)
        self._display = display
        self._coordinator = ProgressReader(self._directory.coordinator)
        self._sites: dict[Path, ProgressReader] = {}
        self._bars: dict[Path, Any] = {}

    def follow(self, stop: threading.Event) -> None:
        while not stop.wait(POLL_SECONDS):
            self._look()
        self._look()

    def _look(self) -> None:
        for event in self._coordinator.new_events():
            if event["event"] == "pretrained":
                self._advance(self._directory.coordinator, {**event, "label": "on public rendered images"})
            else:
                self._display.console.print(_sentence(event), highlight=False)
        for folder in self._directory.institutions()[:MOST_LINES]:
            reader = self._sites.setdefault(folder, ProgressReader(folder))
            for event in reader.new_events():
                self._advance(folder, event)

    def _advance(self, folder: Path, event: dict[str, Any]) -> None:
        if folder not in self._bars:
            name = f"hospital {int(folder.name) + 1}" if folder.name.isdigit() else "pretraining"
            self._bars[folder] = self._display.add_task(name, total=event["steps"], label="")
        self._display.update(
            self._bars[folder], completed=event["step"], total=event["steps"], label=event["label"]
        )


def _sentence(event: dict[str, Any]) -> str:
    match event["event"]:
        case "opened":
            return f"Round {event['round']}: opened for {event['members']} hospitals"
        case "refused":
            return f"Round {event['round']}: hospital {event['institution'] + 1} refused, {event['reason']}"
        case "proposed":
            return f"Round {event['round']}: {event['accepted']} updates accepted, model proposed"
        case "measured":
            figure = event["mean_auroc"]
            measured = "not measured" if figure is None else f"{figure:.3f}"
            return f"After {event['finalized_rounds']} rounds: mean AUROC {measured}"
        case "decoded":
            return f"Decoded {event['done']} of {event['total']} images"
        case _:
            outcome = "finalized" if event["finalized"] else "void"
            return f"Round {event['round']}: {outcome}"
