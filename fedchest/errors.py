"""Foreseeable faults, one class per meaning. The message is one sentence for the user; the CLI exits with status 2."""


class FedChestError(Exception):
    """A foreseeable fault. Its text names the file, key or address at fault and what to do."""


class ConfigError(FedChestError):
    """A setting is missing, unknown or outside what is allowed."""


class DataError(FedChestError):
    """A data set can't be used: missing column, unknown label value, unreadable image, no images."""


class KeyFileError(FedChestError):
    """A key file is missing, malformed, or readable by others than its owner."""


class StoreError(FedChestError):
    """A file of the run directory or artifact store is missing, truncated, changed or can't be written."""


class ChainError(FedChestError):
    """The chain can't be reached, started, or is not the chain that was pinned."""


class TamperError(ChainError):
    """The chain shows what no honest sequencer makes: edited state, forged transactions, a rollback, two histories."""


class BudgetError(FedChestError):
    """Training is refused because of the cohort's privacy budget or the state of its ledger file."""


class UnboundedLossError(FedChestError):
    """A loss or layer whose per-patient contribution can't be bounded was asked for with DP on."""


class TrainingError(FedChestError):
    """Training left the finite numbers: the loss or the parameters are infinite or not a number."""


class EngineError(FedChestError):
    """A process that carries the federation (SuperLink, SuperNode, simulation) failed to start, join or finish."""


class ProofError(FedChestError):
    """An inclusion proof does not hold: from the pinned block it does not lead to what it claims."""
