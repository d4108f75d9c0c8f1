"""What `fedchest audit serve` refuses to start with, in one sentence that names the option or file."""

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from fedchest.cli.audit import audit
from fedchest.errors import ConfigError, FedChestError, KeyFileError, StoreError


def fault(*arguments: object) -> FedChestError:
    result = CliRunner().invoke(audit, ["serve", *map(str, arguments)], standalone_mode=False)
    assert isinstance(result.exception, FedChestError)
    assert "http://" not in result.output  # nothing was announced
    return result.exception


def test_a_port_that_is_taken(long_index: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = fault(long_index, "--port", port)
    assert isinstance(error, ConfigError)
    assert f"--port {port}" in str(error)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "a" * 300, ""])
def test_a_host_that_is_not_this_machine(long_index: Path, host: str) -> None:
    error = fault(long_index, "--port", 0, "--host", host)
    assert isinstance(error, ConfigError)
    assert f"--host {host}" in str(error)


def test_what_is_no_run_and_no_index(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no index")
    for path in (tmp_path / "absent", tmp_path / "text"):
        error = fault(path, "--port", 0)
        assert isinstance(error, StoreError)
        assert str(path) in str(error)


def test_an_address_beside_an_index(long_index: Path) -> None:
    assert "--rpc" in str(fault(long_index, "--port", 0, "--rpc", "http://127.0.0.1:1"))


def test_a_key_that_is_none(long_index: Path, tmp_path: Path) -> None:
    assert isinstance(fault(long_index, "--key", tmp_path / "no.key"), KeyFileError)
