"""Transport credentials of a deployment on one machine: a CA, the SuperLink's certificate, the SuperNodes' keys.

They are made for one start of the engine and replaced at the next. They protect the transport only: who an institution
is, is proved by its wallet.
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedchest.files import OWNER_ONLY, write_atomically

_VALID_FOR = timedelta(days=90)
_CLOCK_SLACK = timedelta(minutes=5)


@dataclass(frozen=True)
class ServerCredentials:
    """The files of a TLS server: its CA's certificate, its own, and its owner-only key (PEM)."""

    ca: Path
    certificate: Path
    key: Path


def make_server_credentials(folder: Path) -> ServerCredentials:
    """Make a CA that signs one certificate, for localhost and 127.0.0.1, and forget the CA's key.

    Raises StoreError when the files can't be written.
    """
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("FedChest run CA")
    ca = (
        _builder(ca_name, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_signing_only(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = (
        _builder(_name("FedChest SuperLink"), ca_name, server_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    credentials = ServerCredentials(folder / "ca.crt", folder / "server.crt", folder / "server.key")
    write_atomically(credentials.ca, ca.public_bytes(Encoding.PEM))
    write_atomically(credentials.certificate, server.public_bytes(Encoding.PEM))
    _write_key(credentials.key, server_key, PrivateFormat.TraditionalOpenSSL)
    return credentials


def make_node_key(private: Path) -> Path:
    """Make a SuperNode's identity, an EC P-384 key in OpenSSH form, at `private`; returns the public key's path.

    Raises StoreError when the files can't be written.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    public = private.with_name(f"{private.name}.pub")
    _write_key(private, key, PrivateFormat.OpenSSH)
    write_atomically(public, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n")
    return public


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey, form: PrivateFormat) -> None:
    write_atomically(path, key.private_bytes(Encoding.PEM, form, NoEncryption()), mode=OWNER_ONLY)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + _VALID_FOR)
    )


def _signing_only() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
