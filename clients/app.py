"""The Flower ClientApp: each handler reads a message, calls the site, answers. No exception text leaves."""

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.identity import prove_identity
from clients.site import Site
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
from fedchest.federation.sites import site_folder
from fedchest.files import OWNER_ONLY, append_durably
from fedchest.refusals import Reason, Refused

app = ClientApp()

Reply = IdentifyReply | UpdateReply | AttestReply | VouchReply


@app.query("identify")
def identify(message: Message, context: Context) -> Message:
    """Sign the server's nonce; the chain is not needed for it."""
    return _answer(
        message, context, lambda folder: prove_identity(folder, IdentifyRequest.from_record(message.content))
    )


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train, seal, commit and answer with the sealed update."""
    return _answer(
        message, context, lambda folder: Site.open(folder).train(ModelMessage.from_record(message.content))
    )


@app.query("attest")
def attest(message: Message, context: Context) -> Message:
    """Check the proposed model and attest on chain."""
    return _answer(
        message,
        context,
        lambda folder: Site.open(folder).attest(ProposalMessage.from_record(message.content)),
    )


@app.query("vouch")
def vouch(message: Message, context: Context) -> Message:
    """Answer on chain for an institution that fell silent."""
    return _answer(
        message, context, lambda folder: Site.open(folder).vouch(OpenedMessage.from_record(message.content))
    )


def _answer(message: Message, context: Context, act: Callable[[Path], Reply]) -> Message:
    """The site's reply, or the bare code of a refusal: what went wrong stays in the hospital's own log."""
    try:
        content = _act_or_log(site_folder(context.node_config), act)
    except Exception:  # not even the log can be written; its path must not cross the border either
        content = refusal_record(Reason.SITE_FAULT)
    return Message(content, reply_to=message)


def _act_or_log(folder: Path, act: Callable[[Path], Reply]) -> RecordDict:
    try:
        return act(folder).to_record()
    except Refused as refusal:
        _log(folder, refusal.reason, "")
        return refusal_record(refusal.reason)
    except Exception:  # whatever failed, its text may hold a path or a patient and must not cross the border
        _log(folder, Reason.SITE_FAULT, traceback.format_exc())
        return refusal_record(Reason.SITE_FAULT)


def _log(folder: Path, reason: Reason, detail: str) -> None:
    line = json.dumps({"time": time.time(), "event": "refused", "reason": reason.name, "detail": detail})
    append_durably(folder / "site.log", line.encode(), mode=OWNER_ONLY)
