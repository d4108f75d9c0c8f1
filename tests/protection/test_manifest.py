"""Manifests: one form in bytes for one content, and nothing else is read."""

import dataclasses
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedchest.protection.manifest import MAX_BYTES, Manifest
from fedchest.refusals import Reason, Refused

MANIFEST = Manifest(
    study="00" * 32,
    round=3,
    institution=3,
    base_model="11" * 32,
    weight_class=8,
    epsilon=1_234_567,
    norm_bound=0.1,
    codec="fedchest/fixed-point/v1",
    dp={"noise_multiplier": 1.1, "steps": 20, "delta": 1e-05},
    sealed="22" * 32,
    may_be_opened=False,
)
FIELDS = dataclasses.asdict(MANIFEST)


def as_json(fields: object, **options: object) -> bytes:
    return json.dumps(fields, **{"sort_keys": True, "separators": (",", ":"), **options}).encode()  # type: ignore[arg-type]


def assert_malformed(content: bytes) -> None:
    with pytest.raises(Refused) as caught:
        Manifest.from_bytes(content)
    assert caught.value.reason is Reason.MALFORMED


@given(
    st.integers(0, 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none()
    | st.dictionaries(
        st.text(max_size=10), st.integers() | st.floats(allow_nan=False, allow_infinity=False), max_size=8
    ),
)
def test_round_trip(epsilon: int, norm_bound: float, dp: dict[str, float | int] | None) -> None:
    manifest = dataclasses.replace(MANIFEST, epsilon=epsilon, norm_bound=norm_bound, dp=dp)
    content = manifest.to_bytes()
    assert Manifest.from_bytes(content) == manifest
    assert Manifest.from_bytes(content).to_bytes() == content
    assert manifest.digest() == hashlib.sha256(content).digest()


def test_bytes_are_pinned() -> None:
    assert MANIFEST.to_bytes() == (
        b'{"base_model":"' + b"11" * 32 + b'","codec":"fedchest/fixed-point/v1",'
        b'"dp":{"delta":1e-05,"noise_multiplier":1.1,"steps":20},"epsilon":1234567,'
        b'"institution":3,"may_be_opened":false,"norm_bound":0.1,"round":3,'
        b'"sealed":"' + b"22" * 32 + b'","study":"' + b"00" * 32 + b'","weight_class":8}'
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"[" * 4000,
        as_json(FIELDS, indent=1),
        as_json(FIELDS, sort_keys=False),
        as_json(FIELDS) + b"\n",
        as_json(FIELDS)[:-1] + b',"weight_class":9}',
        as_json({**FIELDS, "note": "hello"}),
        as_json({name: value for name, value in FIELDS.items() if name != "dp"}),
        as_json({**FIELDS, "weight_class": 8.0}),
        as_json({**FIELDS, "weight_class": "8"}),
        as_json({**FIELDS, "weight_class": True}),
        as_json({**FIELDS, "norm_bound": 1}),
        as_json({**FIELDS, "norm_bound": float("nan")}),
        as_json({**FIELDS, "norm_bound": float("inf")}),
        as_json({**FIELDS, "dp": [1]}),
        as_json({**FIELDS, "dp": {"steps": None}}),
        as_json({**FIELDS, "codec": "x" * MAX_BYTES}),
    ],
)
def test_anything_else_is_malformed(content: bytes) -> None:
    assert_malformed(content)


@given(st.integers(0, len(MANIFEST.to_bytes()) - 1), st.integers(1, 255))
def test_a_changed_byte_never_gives_the_same_manifest(at: int, mask: int) -> None:
    content = bytearray(MANIFEST.to_bytes())
    content[at] ^= mask
    try:
        assert Manifest.from_bytes(bytes(content)) != MANIFEST
    except Refused as refused:
        assert refused.reason is Reason.MALFORMED
