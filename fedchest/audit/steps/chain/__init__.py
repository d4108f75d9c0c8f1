"""The layer of the chain itself: its history, the contract, and what the events say."""
