"""A party in a process of its own: opens the ledger at a place and submits to one round, or attests to it.

Run as: actor.py URL ADDRESS WALLET ROUND; says "ready", and goes on when a line comes.
"""

import sys
from pathlib import Path

from studies import HASHES, WEIGHT

from fedchest.ledger.opening import open_ledger
from fedchest.ledger.records import UpdateCommitment
from fedchest.ledger.wallet import Wallet

url, address, key, number = sys.argv[1:]
wallet = Wallet.load(Path(key))
ledger = open_ledger(url, address, wallet)
me, round = ledger.institution_id(wallet.address), ledger.round(int(number))
print("ready", flush=True)
sys.stdin.readline()
ledger.submit_update(UpdateCommitment(round.number, me, round.base_model, *HASHES, WEIGHT, 0))
