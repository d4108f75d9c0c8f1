"""`fedchest audit serve`: the explorer of a run or index, on this machine's own address unless told otherwise."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import click
import uvicorn

from fedchest.audit.opening import trail_index
from fedchest.audit.verify import verify_run
from fedchest.cli.trail import RpcOption, TrailArgument
from fedchest.errors import ConfigError
from fedchest.federation.directory import RunDirectory
from fedchest.protection.keys import load_sealing_key
from fedchest.reporting.explorer.app import explorer
from fedchest.reporting.explorer.concealing import concealing, run_names
from fedchest.reporting.explorer.verification import Verification

_LONGEST_QUEUE = 128
_CLOSING_SECONDS = 3


@click.command()
@TrailArgument
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="address or name of this machine to listen on"
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="port to listen on; 0 takes a free one",
)
@click.option(
    "--key", type=click.Path(path_type=Path), help="sealing key for the verify button; default: the auditor's"
)
@RpcOption
def serve(run: Path, host: str, port: int, key: Path | None, rpc: str | None) -> None:
    """Show RUN, or an index file, as read-only web pages with a verify button; Ctrl-C ends it.

    An index file's pages follow it as it grows; a run is read once, at the start.
    """
    if key is not None:
        load_sealing_key(key)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or it leaves the index and the node behind
    with (
        suppress(KeyboardInterrupt),
        _listening(host, port) as listener,
        trail_index(run, rpc) as index,
        _verification(run, key, rpc) as verification,
    ):
        application = explorer(index, verification, concealing(run_names(run, key, rpc)), host)
        click.echo(f"Explorer of {run}: http://{_authority(host, listener)}/ (Ctrl-C ends it)")
        config = uvicorn.Config(
            application,
            lifespan="off",
            ws="none",
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=_CLOSING_SECONDS,
        )
        uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens. Raises ConfigError when the address is not this machine's or the port is taken."""
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address[:2], family=family, backlog=_LONGEST_QUEUE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"--host {host} --port {port}: can't listen there ({error}); give another."
        ) from None
    with listener:
        yield listener


@contextmanager
def _verification(run: Path, key: Path | None, rpc: str | None) -> Iterator[Verification | None]:
    """What the verify button starts; None for an index file, beside which there is nothing to verify."""
    if run.is_file():
        yield None
        return
    verification = Verification(partial(verify_run, RunDirectory(run), rpc_url=rpc, key=key, keep_going=True))
    try:
        yield verification
    finally:
        verification.close()


def _authority(host: str, listener: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{listener.getsockname()[1]}"
