"""A federation small enough for a test: few hospitals, tiny images, a real chain; and liars to put in it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from clients.outbox import Outbox, StoredSubmission
from fedchest.artifacts import ArtifactStore
from fedchest.federation.apps import client_app
from fedchest.federation.config import Settings, read_settings
from fedchest.federation.directory import (
    CONNECTION,
    SITE,
    STUDY,
    WALLET,
    Connection,
    RunDirectory,
    SiteDocument,
    read_document,
    read_study,
)
from fedchest.federation.engines.in_process import run_in_process
from fedchest.federation.expectation import expectation
from fedchest.federation.layout import update_layout
from fedchest.federation.messages import ModelMessage, UpdateReply
from fedchest.federation.prepare import prepare
from fedchest.federation.run import chain_of, found_study
from fedchest.federation.sites import coordinator_folder
from fedchest.federation.study import Study
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.opening import open_ledger
from fedchest.ledger.records import RoundState, UpdateCommitment, VoidCause
from fedchest.ledger.wallet import Wallet
from fedchest.protection.codec import Codec, Layout
from fedchest.protection.context import UpdateContext
from fedchest.protection.keys import decode_public_key
from fedchest.protection.manifest import Manifest
from fedchest.protection.sealing import plaintext_hash, seal
from fedchest.refusals import Reason
from server.coordinator import Coordinator
from server.strategy import VerifiedFedAvg

Sections = Mapping[str, Mapping[str, Any]]


class SmallFederation:
    """A founded run on its own chain; reads its outcome from the chain alone."""

    def __init__(self, directory: RunDirectory, settings: Settings, study: Study, rpc_url: str) -> None:
        self.directory = directory
        self.settings = settings
        self.study = study
        self.rpc_url = rpc_url
        pinned = read_document(directory.coordinator / CONNECTION, Connection)
        self.ledger = open_ledger(rpc_url, pinned.contract, chain_id=pinned.chain_id)

    def run(
        self,
        liars: Mapping[int, ClientApp] | None = None,
        server: ServerApp | None = None,
        workers: int = 1,
    ) -> None:
        """Run the rounds that are left; `liars` replace the honest app of an institution, by its number."""
        count = len(self.directory.institutions())
        apps = [(liars or {}).get(institution, client_app()) for institution in range(count)]
        run_in_process(self.directory, workers=workers, apps=apps, server=server)

    def state(self, round_number: int = 1) -> RoundState:
        return self.ledger.round(round_number)

    def refusals(self, round_number: int = 1) -> dict[int, Reason]:
        """The reasons that the chain records, by institution."""
        return {
            event.institution: Reason(int(str(event.values["reason"])))
            for event in self.ledger.events()
            if event.name == "UpdateRefused" and event.round == round_number and event.institution is not None
        }

    def checks(self, round_number: int = 1) -> dict[int, int]:
        """The attested bit masks of checks, by institution."""
        return {
            event.institution: int(str(event.values["checks"]))
            for event in self.ledger.events()
            if event.name == "Attested" and event.round == round_number and event.institution is not None
        }

    def void_cause(self, round_number: int = 1) -> VoidCause | None:
        """Why the round came to nothing, or None where it didn't."""
        for event in self.ledger.events():
            if event.name == "RoundVoided" and event.round == round_number:
                return VoidCause(int(str(event.values["cause"])))
        return None


def small_settings(data: Path, out: Path, cache: Path, sections: Sections) -> Settings:
    """Settings of a run of 4 hospitals, one round of one step, DP off, with `sections` laid over them."""
    defaults: dict[str, dict[str, Any]] = {
        "data": {"data": data, "image_size": 32, "cache": cache},
        "partition": {"institutions": 4, "local_validation": 0.0},
        "training": {"rounds": 1, "steps": 1, "batch": 4, "trainable": "norms-and-head"},
        "privacy": {
            "dp": False,
            "delta": 1e-3,
            "sampling_rate": 0.3,
            "epsilon_ledger": out.parent / "epsilon",
        },
        "protection": {"patients_per_weight_unit": 10},
        "run": {"out": out, "workers": 1},
    }
    merged = {name: {**defaults.get(name, {}), **sections.get(name, {})} for name in {*defaults, *sections}}
    return read_settings(None, merged)


@contextmanager
def founded(settings: Settings) -> Iterator[SmallFederation]:
    """Prepare and found a run; its chain lives while the block runs."""
    assert settings.run.out is not None
    prepared = prepare(settings, settings.run.out)
    with chain_of(prepared.directory, settings) as rpc_url:
        found_study(prepared, settings, rpc_url)
        yield SmallFederation(prepared.directory, settings, prepared.study, rpc_url)


Answer = Callable[[Message, Context], RecordDict]


def liar(
    train: Answer | None = None,
    identify: Answer | None = None,
    attest: Answer | None = None,
    vouch: Answer | None = None,
) -> ClientApp:
    """An app that answers as told where told, and honestly elsewhere."""
    app = ClientApp()

    def handler(answer: Answer | None) -> Callable[[Message, Context], Message]:
        def handle(message: Message, context: Context) -> Message:
            if answer is None:
                return client_app()(message, context)
            return Message(answer(message, context), reply_to=message)

        return handle

    app.train()(handler(train))
    app.query("identify")(handler(identify))
    app.query("attest")(handler(attest))
    app.query("vouch")(handler(vouch))
    return app


def changing_reply(change: Callable[[UpdateReply], UpdateReply]) -> ClientApp:
    """An app that trains and commits honestly, and then sends something else."""

    def train(message: Message, context: Context) -> RecordDict:
        honest = UpdateReply.from_record(client_app()(message, context).content)
        return change(honest).to_record()

    return liar(train=train)


def changing_record(change: Callable[[RecordDict], RecordDict]) -> ClientApp:
    """As `changing_reply`, below the schema: the change is made to Flower's records."""

    def train(message: Message, context: Context) -> RecordDict:
        return change(client_app()(message, context).content)

    return liar(train=train)


@dataclass(frozen=True)
class Forgery:
    """A submission made with an institution's own keys, valid in every part that a test leaves alone."""

    study: Study
    ledger: Ledger
    context: UpdateContext
    layout: Layout
    plaintext: bytes
    salt: bytes
    sealed: bytes
    manifest: Manifest
    outbox: Outbox

    def resealed(self, *, plaintext: bytes | None = None, round: int | None = None) -> "Forgery":
        """Sealed anew with another plaintext or for another round; the manifest names the new bytes."""
        text = self.plaintext if plaintext is None else plaintext
        context = self.context if round is None else replace(self.context, round=round)
        keys = [decode_public_key(key) for key in (self.study.coordinator_key, self.study.auditor_key)]
        return replace(self, plaintext=text).carrying(seal(text, context, keys, self.salt))

    def carrying(self, sealed: bytes) -> "Forgery":
        """With other sealed bytes, and a manifest that names them."""
        return replace(
            self, sealed=sealed, manifest=replace(self.manifest, sealed=sha256(sealed).hexdigest())
        )

    def stating(self, **facts: Any) -> "Forgery":
        """With other facts in the manifest."""
        return replace(self, manifest=replace(self.manifest, **facts))

    def commit(self, **facts: Any) -> "Forgery":
        """Write it on chain with the institution's wallet; `facts` replace what is committed.

        Kept as an honest site keeps its own, so that the node can answer with the fingerprint of what it sent.
        """
        self.outbox.store_update(self.context.base_model, self.plaintext)
        kept = StoredSubmission(self.sealed, self.manifest.to_bytes(), self.salt)
        self.outbox.store_submission(self.context.round, kept)
        committed = UpdateCommitment(
            self.context.round,
            self.context.institution,
            self.context.base_model,
            sha256(self.sealed).digest(),
            plaintext_hash(self.plaintext, self.salt),
            self.manifest.digest(),
            self.manifest.weight_class,
            self.manifest.epsilon,
        )
        self.ledger.submit_update(replace(committed, **facts))
        return self

    def reply(self) -> RecordDict:
        return UpdateReply(self.sealed, self.manifest.to_bytes(), self.manifest.weight_class).to_record()


def forge(message: Message, context: Context) -> Forgery:
    """A valid submission of a zero update for `message`'s round, as the node's own institution; nothing is sent."""
    folder = Path(str(context.node_config["site"]))
    request = ModelMessage.from_record(message.content)
    connection = read_document(folder / CONNECTION, Connection)
    wallet = Wallet.load(folder / WALLET)
    ledger = open_ledger(connection.rpc_url, connection.contract, wallet=wallet, chain_id=connection.chain_id)
    study = read_study(folder / STUDY)
    layout = update_layout(study, ledger.finalized_before(request.round))
    me = ledger.institution(ledger.institution_id(wallet.address))
    expected = expectation(study, ledger, ledger.round(request.round), me, layout)
    plaintext = Codec(study.norm_bound).encode({name: np.zeros(shape) for name, shape in layout})
    empty = expected.manifest(bytes(32), epsilon=0)
    outbox = Outbox(folder / "outbox")
    blank = Forgery(study, ledger, expected.context, layout, plaintext, bytes(32), b"", empty, outbox)
    return blank.resealed()


def site_artifacts(context: Context) -> ArtifactStore:
    """The artifact store that the node's site writes to."""
    return ArtifactStore(read_document(Path(str(context.node_config["site"])) / SITE, SiteDocument).artifacts)


def serving(kind: type[Coordinator]) -> ServerApp:
    """The real server with another coordinator in it."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        coordinator = kind.open(coordinator_folder())
        VerifiedFedAvg(coordinator).start(
            grid,
            initial_arrays=ArrayRecord(),
            num_rounds=coordinator.rounds_left(),
            timeout=coordinator.reply_seconds,
        )

    return app
