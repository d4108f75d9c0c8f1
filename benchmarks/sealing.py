"""Throughput of sealing and hashing an update against `openssl speed` for the same algorithms."""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from benchmarks.report import Case, run
from fedchest.protection.context import UpdateContext
from fedchest.protection.sealing import open_sealed, seal

PARAMETERS = {"0.1M": 100_000, "0.7M": 700_000, "5M": 5_000_000, "20.8M": 20_800_000}
SECONDS = 1.0
BLOCK_BYTES = 1 << 16
CONTEXT = UpdateContext(
    chain_id=31337,
    contract="0x5FbDB2315678afecb367f032d93F642f64180aa3",
    round=1,
    institution=3,
    base_model=bytes(32),
)


def measure() -> list[Case]:
    """Bytes of encoded update a second, by model size; processor time, as `openssl speed` takes it."""
    aes, sha = openssl_speed("aes-256-gcm"), openssl_speed("sha256")
    both = None if aes is None or sha is None else 1 / (1 / aes + 1 / sha)
    keys = [X25519PrivateKey.generate() for _ in range(2)]
    recipients = [key.public_key() for key in keys]
    salt = os.urandom(32)
    cases = []
    for name, parameters in PARAMETERS.items():
        update = os.urandom(4 * parameters)
        sealed = seal(update, CONTEXT, recipients, salt)
        work: dict[str, tuple[Callable[[], object], float | None]] = {
            "seal": (lambda: seal(update, CONTEXT, recipients, salt), aes),  # noqa: B023
            "hash": (lambda: hashlib.sha256(sealed).digest(), sha),  # noqa: B023
            "seal_and_hash": (
                lambda: hashlib.sha256(seal(update, CONTEXT, recipients, salt)).digest(),  # noqa: B023
                both,
            ),
            "open": (lambda: open_sealed(sealed, CONTEXT, keys[0]), aes),  # noqa: B023
        }
        for task, (function, baseline) in work.items():
            cases.append(Case(f"{task} {name}", "bytes/s", throughput(function, len(update)), baseline))
    return cases


def throughput(function: Callable[[], object], size: int) -> float:
    """Bytes a second of processor time, over at least a second after a first call."""
    function()
    calls, start = 0, time.process_time()
    while (elapsed := time.process_time() - start) < SECONDS:
        function()
        calls += 1
    return calls * size / elapsed


def openssl_speed(algorithm: str) -> float | None:
    """Bytes a second of `openssl speed` in 64 KiB blocks; None where there is no openssl."""
    if shutil.which("openssl") is None:
        return None
    command = ["openssl", "speed", "-mr", "-evp", algorithm, "-bytes", str(BLOCK_BYTES), "-seconds", "1"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(output.strip().splitlines()[-1].rpartition(":")[2])


if __name__ == "__main__":
    run("sealing", measure)
