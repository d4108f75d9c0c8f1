"""The smart contract, the local chain, its journal, and the client that talks to them."""
