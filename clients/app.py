"""The Flower ClientApp: each handler reads a message, calls the site, answers. No exception text leaves."""

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.site import Site
from fedchest.federation.messages import IdentifyRequest, ModelMessage, refusal_record
from fedchest.federation.sites import site_folder
from fedchest.files import OWNER_ONLY, append_durably
from fedchest.refusals import Reason, Refused

app = ClientApp()


@app.query("identify")
def identify(message: Message, context: Context) -> Message:
    """Sign the server's nonce."""
    return _answer(
        message, context, lambda site: site.identify(IdentifyRequest.from_record(message.content)).to_record()
    )


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train, seal, commit and answer with the sealed update."""
    return _answer(
        message, context, lambda site: site.train(ModelMessage.from_record(message.content)).to_record()
    )


@app.query("attest")
def attest(message: Message, context: Context) -> Message:
    """Check the proposed model and attest on chain."""
    return _answer(
        message, context, lambda site: site.attest(ModelMessage.from_record(message.content)).to_record()
    )


def _answer(message: Message, context: Context, act: Callable[[Site], RecordDict]) -> Message:
    """The site's answer, or the bare code of a refusal: what went wrong stays in the hospital's own log."""
    folder = site_folder(context.node_config)
    try:
        content = act(Site.open(folder))
    except Refused as refusal:
        _log(folder, refusal.reason, "")
        content = refusal_record(refusal.reason)
    except Exception:  # whatever failed, its text may hold a path or a patient and must not cross the border
        _log(folder, Reason.SITE_FAULT, traceback.format_exc())
        content = refusal_record(Reason.SITE_FAULT)
    return Message(content, reply_to=message)


def _log(folder: Path, reason: Reason, detail: str) -> None:
    line = json.dumps({"time": time.time(), "event": "refused", "reason": reason.name, "detail": detail})
    append_durably(folder / "site.log", line.encode(), mode=OWNER_ONLY)
