"""What runs at the coordinator: the Flower ServerApp, the strategy and the checks on a received update."""
