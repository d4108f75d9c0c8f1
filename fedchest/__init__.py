"""FedChest: federated, differentially private chest-radiograph classification with an on-chain audit trail."""

from fedchest.runtime import prepare

# Here, so that no way into the package can import a framework before it was told to keep quiet.
prepare()
