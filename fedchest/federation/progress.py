"""Progress that a person can watch: each party appends to its own file, and the command line follows them."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

PROGRESS = "progress.jsonl"


class ProgressLog:
    """Appends what a party is doing to its own folder. Lost lines harm nobody, so nothing is flushed."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PROGRESS

    def report(self, event: str, **facts: Any) -> None:
        """Append one event with its facts."""
        line = json.dumps({"time": time.time(), "event": event, **facts})
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class ProgressReader:
    """Reads what was appended to a party's progress file since the last look; the past before the first is left out."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PROGRESS
        self._offset = self._path.stat().st_size if self._path.exists() else 0

    def new_events(self) -> list[dict[str, Any]]:
        """The complete lines appended since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            complete, _, _ = file.read().rpartition(b"\n")
        if not complete:
            return []
        self._offset += len(complete) + 1
        return [json.loads(line) for line in complete.splitlines()]
