"""A party in a process of its own: `actor.py URL ADDRESS WALLET ACTION`; says "ready", and acts when a line comes.

ACTION is `submit`, to the round that is open, or `waver`, which supports a pause and withdraws that until it is killed.
"""

import sys
from pathlib import Path

from studies import HASHES, WEIGHT

from fedchest.ledger.opening import open_ledger
from fedchest.ledger.records import UpdateCommitment
from fedchest.ledger.wallet import Wallet

url, address, key, action = sys.argv[1:]
wallet = Wallet.load(Path(key))
ledger = open_ledger(url, address, wallet)
me, round = ledger.institution_id(wallet.address), ledger.round(ledger.current_round())
print("ready", flush=True)
sys.stdin.readline()
if action == "submit":
    ledger.submit_update(UpdateCommitment(round.number, me, round.base_model, *HASHES, WEIGHT, 0))
while action == "waver":
    ledger.pause()
    ledger.withdraw("pause")
