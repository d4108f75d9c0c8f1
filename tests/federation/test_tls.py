"""The transport's credentials: what OpenSSL, through Python's ssl module, makes of them."""

import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from fedchest.federation.engines.tls import ServerCredentials, make_node_key, make_server_credentials


def handshake(server: ServerCredentials, trusted: Path, name: str) -> None:
    """A TLS handshake with a server of these credentials by a client that trusts `trusted` and expects `name`."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(server.certificate, server.key)
    here, there = socket.socketpair()

    def serve() -> None:
        try:
            serving.wrap_socket(there, server_side=True).close()
        except (ssl.SSLError, OSError):
            there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ssl.create_default_context(cafile=str(trusted)).wrap_socket(here, server_hostname=name):
            pass
    finally:
        here.close()
        thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_the_server_is_trusted_under_its_own_names(tmp_path: Path, name: str) -> None:
    credentials = make_server_credentials(tmp_path)
    handshake(credentials, credentials.ca, name)


def test_another_name_and_another_authority_are_refused(tmp_path: Path) -> None:
    credentials, other = make_server_credentials(tmp_path / "a"), make_server_credentials(tmp_path / "b")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(credentials, credentials.ca, "example.org")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(credentials, other.ca, "localhost")


def test_private_keys_are_their_owners_alone(tmp_path: Path) -> None:
    credentials = make_server_credentials(tmp_path)
    make_node_key(tmp_path / "node.key")
    for path in (credentials.key, tmp_path / "node.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_nodes_key_pair_belongs_together_and_is_new_each_time(tmp_path: Path) -> None:
    public = load_ssh_public_key(make_node_key(tmp_path / "node.key").read_bytes())
    private = load_ssh_private_key((tmp_path / "node.key").read_bytes(), password=None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert private.curve.name == "secp384r1"
    assert private.public_key() == public
    again = load_ssh_public_key(make_node_key(tmp_path / "node.key").read_bytes())
    assert again != public
