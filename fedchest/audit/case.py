"""The case that the steps examine: a run directory beside its chain, and the key that opens the updates."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pydantic import TypeAdapter

from fedchest.aggregation.record import RoundRecord
from fedchest.audit.evidence import Evidence
from fedchest.audit.pruned import SUM, UPDATE, PrunedArtifact, read_pruned
from fedchest.audit.report import Fault, Faults, Finding, NotChecked, Pruned
from fedchest.audit.source import Source
from fedchest.errors import ChainError, KeyFileError, StoreError
from fedchest.federation.directory import (
    CONNECTION,
    STUDY,
    Connection,
    RunDirectory,
    read_document,
    read_study,
)
from fedchest.federation.layout import update_layout
from fedchest.federation.study import Study
from fedchest.ledger.blocks import Block, read_blocks
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.opening import ledger_file, open_ledger
from fedchest.ledger.records import Event, Institution, RoundState, Submission
from fedchest.ledger.rpc import connect
from fedchest.protection.codec import Layout
from fedchest.protection.keys import encode_public_key, load_sealing_key

_NO_HASH = bytes(32)
_HASH = re.compile(r"[0-9a-f]{64}")
_RECORD = TypeAdapter(RoundRecord)
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Case:
    """What a step may ask for. A property whose basis is missing raises NotChecked, and so ends the step."""

    directory: RunDirectory
    source: Source
    key_file: Path
    keep_going: bool = False
    evidence: Sequence[Evidence] = ()
    public_data: Path | None = None

    def each(self, items: Iterable[_Item], check: Callable[[_Item], _Result]) -> list[_Result]:
        """`check` of every item. Its Faults end it: at once, or all together at the end where the audit keeps going.

        What was pruned ends nothing but its item; that it is missing is said at the end.
        """
        results: list[_Result] = []
        findings: list[Finding] = []
        pruned: dict[bytes, int] = {}
        for item in items:
            try:
                results.append(check(item))
            except Faults as faults:
                if not self.keep_going:
                    raise
                findings += faults.findings
            except Pruned as missing:
                pruned |= missing.missing
        if findings:
            raise Faults(list(dict.fromkeys(findings)))
        if pruned:
            raise Pruned(pruned)
        return results

    def all(self, *checks: Callable[[], _Result]) -> list[_Result]:
        """Every one of the checks, as `each`."""
        return self.each(checks, lambda check: check())

    def name(self, path: Path) -> str:
        """`path` relative to the run directory."""
        return str(path.relative_to(self.directory.root))

    @property
    def in_file(self) -> bool:
        """Whether the ledger is a file, and not a contract on a chain."""
        return self.source.rpc_url is not None and ledger_file(self.source.rpc_url) is not None

    def open_ledger(self) -> Ledger:
        """The ledger that the auditor pins. Raises ChainError, StoreError, NotChecked without a chain."""
        if self.source.rpc_url is None:
            raise NotChecked("there is no chain to compare with")
        pinned = read_document(self.directory.auditor / CONNECTION, Connection)
        return open_ledger(self.source.rpc_url, pinned.contract, chain_id=pinned.chain_id)

    @cached_property
    def ledger(self) -> Ledger:
        """The pinned ledger."""
        try:
            return self.open_ledger()
        except (ChainError, StoreError) as error:
            raise NotChecked(f"the pinned contract can't be read: {error}") from None

    @cached_property
    def study(self) -> Study:
        """The study whose hash is on chain, from the first of the parties' copies that is it."""
        on_chain = self.ledger.rules().study
        for path in self.study_files():
            if path.exists() and hashlib.sha256(path.read_bytes()).digest() == on_chain:
                return read_study(path)
        raise NotChecked("no study.json is the study whose hash is on chain")

    def layout(self, state: RoundState) -> Layout:
        """Names and shapes of the updates of a round."""
        return update_layout(self.study, self.ledger.finalized_before(state.number))

    @cached_property
    def key(self) -> X25519PrivateKey:
        """The private key that opens the sealed updates: the auditor's, or the coordinator's."""
        try:
            key = load_sealing_key(self.key_file)
        except KeyFileError as error:
            raise NotChecked(f"the sealed updates can't be opened: {error}") from None
        recipients = (self.study.auditor_key, self.study.coordinator_key)
        if encode_public_key(key.public_key()) not in recipients:
            raise NotChecked(f"the updates are not sealed for the key in {self.key_file}")
        return key

    @cached_property
    def blocks(self) -> list[Block]:
        """Every block of the chain from the genesis on, as the node tells them."""
        if self.source.rpc_url is None or self.in_file:
            raise NotChecked("there is no chain to compare with")
        w3 = connect(self.source.rpc_url)
        return read_blocks(w3, range(w3.eth.block_number + 1))

    @cached_property
    def block_hashes(self) -> list[bytes]:
        """The hash of every block, or entry of a file, from the genesis on."""
        if not self.in_file:
            return [block.header.hash for block in self.blocks]
        numbers = range(self.ledger.head()[0] + 1)
        return [digest for digest in self.ledger.block_hashes(numbers) if digest is not None]

    @cached_property
    def transactions(self) -> dict[str, int]:
        """The number of the block of every transaction, or entry, by its hash (0x...)."""
        if self.in_file:
            return {"0x" + digest.hex(): number for number, digest in enumerate(self.block_hashes)}
        return {
            "0x" + transaction.hash.hex(): block.header.number
            for block in self.blocks
            for transaction in block.transactions
        }

    @cached_property
    def events(self) -> list[Event]:
        """Every event of the contract, in the chain's order."""
        return self.ledger.events()

    @cached_property
    def institutions(self) -> dict[int, Institution]:
        """The registered institutions by number."""
        return {institution.id: institution for institution in self.ledger.institutions()}

    @cached_property
    def rounds(self) -> list[RoundState]:
        """Every round that was opened."""
        return [self.ledger.round(number) for number in range(1, self.ledger.current_round() + 1)]

    @property
    def proposed_rounds(self) -> list[RoundState]:
        """The rounds for which a model was proposed, finalized or not."""
        return [state for state in self.rounds if state.new_model != _NO_HASH]

    def record(self, state: RoundState) -> RoundRecord:
        """The coordinator's record of a proposed round. Raises Fault when it is absent or not of the form."""
        content = self.artifact(state.record, "the round's record", round=state.number)
        try:
            record = _RECORD.validate_json(content)
        except ValueError:
            record = None
        if record is None or record.to_bytes() != content or not _names_hashes(record):
            file = self.name(self.directory.artifacts.path(state.record))
            raise Fault(
                "is not a record of a round",
                expected="a record in its canonical form",
                found=f"{len(content)} other bytes",
                file=file,
                round=state.number,
            )
        return record

    @cached_property
    def _pruned(self) -> dict[bytes, PrunedArtifact]:
        return read_pruned(self.directory.pruned)

    def events_of(self, name: str, round: int | None = None) -> list[Event]:
        """The events of one kind, of one round where it is given, in the chain's order."""
        if round is None:
            return [event for event in self.events if event.name == name]
        return self._by_kind_and_round.get((name, round), [])

    def wallet_at(self, institution: int, event: Event) -> str:
        """The institution's wallet when `event` happened: keys are rotated, the registry shows the last one."""
        wallet = ""
        for earlier in self._keys.get(institution, ()):
            if (earlier.block, earlier.index) < (event.block, event.index):
                wallet = str(earlier.values.get("new_wallet", earlier.values.get("wallet")))
        return wallet

    def wallets(self, institution: int) -> set[str]:
        """Every wallet that the institution has had."""
        keys = self._keys.get(institution, ())
        return {str(event.values.get("new_wallet", event.values.get("wallet"))) for event in keys}

    @cached_property
    def _keys(self) -> dict[int | None, list[Event]]:
        keys: dict[int | None, list[Event]] = {}
        for event in self.events_of("InstitutionRegistered") + self.events_of("KeyRotated"):
            keys.setdefault(event.institution, []).append(event)
        return keys

    def members(self, round: int) -> tuple[int, ...]:
        """The round's members, by number."""
        return self._institutions_in("RoundOpened", "members", round)

    def accepted(self, round: int) -> tuple[int, ...]:
        """The members whose updates the round's proposal rests on; none without a proposal."""
        return self._institutions_in("AggregateProposed", "accepted", round)

    def submissions(self, round: int) -> dict[int, Submission]:
        """What each institution committed to in the round."""
        return {
            event.institution: _submission(event.values)
            for event in self.events_of("UpdateSubmitted", round)
            if event.institution is not None
        }

    @cached_property
    def _by_kind_and_round(self) -> dict[tuple[str, int | None], list[Event]]:
        index: dict[tuple[str, int | None], list[Event]] = {}
        for event in self.events:
            index.setdefault((event.name, event.round), []).append(event)
        return index

    def _institutions_in(self, name: str, field: str, round: int) -> tuple[int, ...]:
        found: list[Any] = [event.values[field] for event in self.events_of(name, round)]
        return tuple(sorted(found[0])) if found else ()

    def study_files(self) -> list[Path]:
        """Where copies of the study lie: the run's own and each party's."""
        return [folder / STUDY for folder in (self.directory.root, *self.directory.parties())]

    def artifact(
        self, digest: bytes, what: str, *, round: int | None = None, institution: int | None = None
    ) -> bytes:
        """The content that the chain or a record names as `what`. Raises Fault when it is absent or changed."""
        try:
            return self.directory.artifacts.get(digest)
        except StoreError:
            raise self.unsound(digest, what, round=round, institution=institution) from None

    def unsound(self, digest: bytes, what: str, *, round: int | None, institution: int | None) -> Fault:
        """That the file which the chain or a record names as `what` is absent or changed. Raises Pruned if it was.

        The list of what was pruned is its holder's word, and excuses only what the pruning rule lets go.
        """
        present = digest in self.directory.artifacts
        if not present and what in (UPDATE, SUM) and digest in self._pruned:
            raise Pruned({digest: self._pruned[digest].round})
        return Fault(
            f"{what} does not hash to its name" if present else f"{what} is missing",
            expected=digest,
            found="other bytes" if present else "no file",
            file=self.name(self.directory.artifacts.path(digest)),
            round=round,
            institution=institution,
        )


def _submission(values: Mapping[str, Any]) -> Submission:
    return Submission(**{field.name: values[field.name] for field in fields(Submission)})


def _names_hashes(record: RoundRecord) -> bool:
    named = [text for entry in record.entries for text in (entry.sealed, entry.manifest) if text is not None]
    if record.contribution is not None:
        named.append(record.contribution.predictions)
    return all(_HASH.fullmatch(text) for text in named)
