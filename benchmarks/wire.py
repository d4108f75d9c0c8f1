"""Bytes that an institution sends in a round against the size of its update as raw float32."""

import hashlib

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from benchmarks.report import Case, run
from fedchest.aggregation.check import Expectation
from fedchest.data.labels import COMPETITION
from fedchest.models.chest import ModelConfig, build_model
from fedchest.models.parameters import Arrays, parameters
from fedchest.protection.codec import Codec, layout_of
from fedchest.protection.context import UpdateContext
from fedchest.protection.sealing import seal

ENCODERS = ("xception-nano", "xception-tiny", "legacy_xception")
DP = {
    "sampling_rate": 0.05,
    "noise_multiplier": 1.1,
    "clipping_norm": 1.0,
    "steps": 20,
    "images_per_patient": 4,
    "delta": 1e-05,
    "expected_patients": 64.0,
}


def measure() -> list[Case]:
    """The reply's sealed update and manifest, by encoder, for the coordinator and one auditor."""
    configs = [ModelConfig(label_names=COMPETITION, encoder=encoder) for encoder in ENCODERS]
    return [wire(config.encoder, parameters(build_model(config, seed=0))) for config in configs]


def wire(name: str, update: Arrays) -> Case:
    """Bytes of one reply for an update shaped and filled as `update`."""
    context = UpdateContext(
        chain_id=31337,
        contract="0x5FbDB2315678afecb367f032d93F642f64180aa3",
        round=1,
        institution=3,
        base_model=bytes(32),
    )
    recipients = [X25519PrivateKey.generate().public_key() for _ in range(2)]
    sealed = seal(Codec(1.0).encode(update), context, recipients, bytes(32))
    expectation = Expectation(context, bytes(32), 8, 8_000_000, 1.0, layout_of(update), DP)
    manifest = expectation.manifest(hashlib.sha256(sealed).digest(), 1_000_000).to_bytes()
    raw = sum(tensor.size for tensor in update.values()) * np.dtype(np.float32).itemsize
    return Case(f"{name}, {raw // 4:,} parameters", "bytes", len(sealed) + len(manifest), raw)


if __name__ == "__main__":
    run("wire", measure)
