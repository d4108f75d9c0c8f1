"""Each message survives its trip, and a record of any other form is refused without being trusted for memory."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fedchest.federation.messages import (
    AttestReply,
    IdentifyReply,
    IdentifyRequest,
    ModelMessage,
    OpenedMessage,
    ProposalMessage,
    UpdateReply,
    VouchReply,
    refusal_record,
)
from fedchest.refusals import Reason, Refused

Change = Callable[[RecordDict], RecordDict]

MESSAGES = st.one_of(
    st.builds(IdentifyRequest, st.binary()),
    st.builds(IdentifyReply, st.binary()),
    st.builds(ModelMessage, st.integers(0, 2**63 - 1), st.binary()),
    st.builds(ProposalMessage, st.integers(0, 2**63 - 1), st.binary(), st.binary()),
    st.builds(OpenedMessage, st.integers(0, 9), st.integers(0, 9), st.binary(), st.binary(), st.binary()),
    st.builds(UpdateReply, st.binary(), st.binary(), st.integers(-(2**63), 2**63 - 1)),
)


@given(MESSAGES)
def test_round_trip(message):
    assert type(message).from_record(message.to_record()) == message


@given(MESSAGES, MESSAGES)
def test_one_message_is_never_taken_for_another(message, other):
    if type(message) is not type(other):
        assert_malformed(type(other), message.to_record())


@given(MESSAGES, st.data())
def test_whatever_is_added_or_missing_is_malformed(message, data):
    record = message.to_record()
    section = data.draw(st.sampled_from(sorted(record)))
    if data.draw(st.booleans(), label="add"):
        record[data.draw(st.text().filter(lambda name: name not in record))] = record[section]
    else:
        del record[section]
    assert_malformed(type(message), record)


@pytest.mark.parametrize("reason", Reason)
def test_reported_refusal_keeps_its_reason(reason):
    with pytest.raises(Refused) as refused:
        UpdateReply.from_record(refusal_record(reason))
    assert refused.value.reason is reason


def test_replies_about_the_chain_hold_the_answer_alone():
    assert AttestReply(True).to_record() == RecordDict({"facts": ConfigRecord({"agrees": True})})
    assert VouchReply(b"share").to_record() == RecordDict({"facts": ConfigRecord({"share": b"share"})})


def npy_header(shape: str, kind: str) -> bytes:
    """The start of a .npy file that promises an array of `shape`."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def with_sealed(array: Array) -> Change:
    def change(record: RecordDict) -> RecordDict:
        record.array_records["bytes"]["sealed"] = array
        return record

    return change


def without(name: str) -> Change:
    return lambda record: RecordDict({key: value for key, value in record.items() if key != name})


def adding(**extra: ArrayRecord | MetricRecord | ConfigRecord) -> Change:
    return lambda record: RecordDict({**record, **extra})


TEN_TERABYTES = npy_header("(10000000000000,)", "|u1")

MALFORMED: dict[str, Change] = {
    "empty": lambda record: RecordDict(),
    "no arrays": without("bytes"),
    "no metrics": without("metrics"),
    "second array record": adding(more=ArrayRecord([np.zeros(1)])),
    "second metric record": adding(more=MetricRecord({"num-examples": 1})),
    "config record": adding(more=ConfigRecord({"a": 1})),
    "arrays under a metric's name": adding(metrics=ArrayRecord({"num-examples": Array(np.zeros(1))})),
    "metrics under the arrays' name": adding(bytes=MetricRecord({"sealed": 1, "manifest": 1})),
    "extra metric": adding(metrics=MetricRecord({"num-examples": 2, "loss": 0.1})),
    "float weight": adding(metrics=MetricRecord({"num-examples": 2.0})),
    "list of weights": adding(metrics=MetricRecord({"num-examples": [2]})),
    "numpy array": with_sealed(Array(np.zeros(9, np.uint8))),
    "other dtype": with_sealed(Array("float32", (8,), "fedchest/bytes", bytes(8))),
    "two dimensions": with_sealed(Array("uint8", (3, 3), "fedchest/bytes", bytes(9))),
    "other length than said": with_sealed(Array("uint8", (10**13,), "fedchest/bytes", bytes(9))),
    "pickle": with_sealed(Array("object", (1,), "numpy.ndarray", npy_header("(1,)", "|O") + b"\x80\x04N.")),
    "promise of 10 terabytes": with_sealed(Array("uint8", (1,), "numpy.ndarray", TEN_TERABYTES)),
    "unknown refusal": lambda record: RecordDict({"refusal": ConfigRecord({"reason": 999})}),
    "refusal in words": lambda record: RecordDict({"refusal": ConfigRecord({"reason": "my patient is ill"})}),
    "refusal with words": adding(refusal=ConfigRecord({"reason": 1, "detail": "my patient is ill"})),
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED.keys())
def test_reply_of_the_wrong_form(change):
    assert_malformed(UpdateReply, change(UpdateReply(b"sealed", b"manifest", 2).to_record()))


def assert_malformed(kind, record):
    with pytest.raises(Refused) as refused:
        kind.from_record(record)
    assert refused.value.reason is Reason.MALFORMED
