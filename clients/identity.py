"""Proving which institution a node is."""

from pathlib import Path

from fedchest.federation.directory import STUDY, WALLET, read_study
from fedchest.federation.messages import IdentifyReply, IdentifyRequest
from fedchest.ledger.wallet import Wallet


def prove_identity(folder: Path, request: IdentifyRequest) -> IdentifyReply:
    """Sign the server's nonce, under the study's hash, with the hospital's wallet."""
    signed = read_study(folder / STUDY).digest() + request.nonce
    return IdentifyReply(Wallet.load(folder / WALLET).sign_message(signed))
