"""The coordinator's SuperLink as a process, and the operator's commands to it."""

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fedchest.errors import EngineError
from fedchest.federation.apps import CLIENT_MODULE, SERVER_MODULE
from fedchest.federation.engines.processes import (
    LOOPBACK,
    Child,
    Program,
    await_condition,
    child_environment,
    script,
)
from fedchest.federation.engines.tls import ServerCredentials
from fedchest.federation.sites import COORDINATOR_VARIABLE
from fedchest.files import write_atomically

_CONNECTION_NAME = "run"
_START_SECONDS, _COMMAND_SECONDS = 180.0, 120.0


class SuperLink:
    """A SuperLink over TLS that admits registered SuperNodes only; everything it keeps lies below `folder`.

    It listens on the loopback interface. Flower's control port has no login: who reaches it with the CA's
    certificate can start runs, so a machine with other people's accounts is no place for it.
    """

    def __init__(self, folder: Path, port: int, credentials: ServerCredentials) -> None:
        self._folder = folder
        self._port = port
        self.credentials = credentials
        self._environment = {
            "FLWR_HOME": str(folder / "home"),
            # Flower looks for work once a second; a tenth shortens each of a round's steps.
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
        }

    @property
    def address(self) -> str:
        """Where SuperNodes find it."""
        return f"{LOOPBACK}:{self._port}"

    def program(self, coordinator: Path) -> Program:
        """The process; its ServerApp opens the folder `coordinator`."""
        files = self.credentials
        return Program(
            name="superlink",
            command=[
                *(script("flower-superlink"), "--host", LOOPBACK, "--port", str(self._port)),
                *("--ssl-ca-certfile", str(files.ca)),
                *("--ssl-certfile", str(files.certificate), "--ssl-keyfile", str(files.key)),
                *("--enable-supernode-auth", "--disable-runtime-dependency-installation"),
            ],
            folder=self._folder,
            environment={**self._environment, COORDINATOR_VARIABLE: str(coordinator)},
        )

    def configure(self) -> None:
        """Write the operator's connection file and the app that names the installed packages, without any code."""
        connection = f"""[superlink]
default = "{_CONNECTION_NAME}"

[superlink.{_CONNECTION_NAME}]
address = "{self.address}"
root-certificates = {json.dumps(str(self.credentials.ca))}
"""
        app = f"""[project]
name = "fedchest"
version = "{version("fedchest")}"
description = "Names the installed FedChest apps; holds no code"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedchest"

[tool.flwr.app.components]
serverapp = "{SERVER_MODULE}:app"
clientapp = "{CLIENT_MODULE}:app"
"""
        write_atomically(self._folder / "home" / "config.toml", connection.encode())
        write_atomically(self._folder / "app" / "pyproject.toml", app.encode())

    def await_ready(self, process: Child) -> None:
        """Wait until it answers over TLS. Raises EngineError when it ends or stays silent."""
        trust = ssl.create_default_context(cafile=str(self.credentials.ca))
        await_condition(
            lambda: process.status() is not None or _answers(f"https://{self.address}/health", trust),
            _START_SECONDS,
        )
        if process.status() is not None or not _answers(f"https://{self.address}/health", trust):
            raise process.failure("Flower's SuperLink did not start")

    def register(self, public_key: Path) -> None:
        """Admit the SuperNode with this public key. Raises EngineError."""
        self._flwr("supernode", "register", str(public_key), _CONNECTION_NAME, "--format", "json")

    def run_program(self) -> Program:
        """The operator's `flwr run`, which lasts as long as the run and prints its log."""
        return Program(
            name="run",
            command=[script("flwr"), "run", str(self._folder / "app"), _CONNECTION_NAME, "--stream"],
            folder=self._folder,
            environment=self._environment,
        )

    def run_succeeded(self) -> bool:
        """Whether the one run of this SuperLink completed. Raises EngineError when it can't be asked."""
        runs = self._flwr("ls", _CONNECTION_NAME, "--format", "json")["runs"]
        return [run["status"] for run in runs] == ["finished:completed"]

    def _flwr(self, *arguments: str) -> Any:
        """The JSON that a `flwr` command prints."""
        answer = _run([script("flwr"), *arguments], self._folder / "app", self._environment)
        try:
            return json.loads(answer)
        except json.JSONDecodeError:
            raise EngineError(f"flwr {arguments[0]} failed: {_last_line(answer)}") from None


def _run(command: Sequence[str], folder: Path, environment: dict[str, str]) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=child_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_COMMAND_SECONDS,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"{command[0]} {command[1]} did not answer in {_COMMAND_SECONDS:.0f} s.") from None
    return done.stdout


def _answers(url: str, trust: ssl.SSLContext) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5, context=trust) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _last_line(text: str) -> str:
    lines = text.split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")
