"""FedChest: federated, differentially private chest-radiograph classification with an on-chain audit trail."""
