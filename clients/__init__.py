"""What runs inside a hospital: the Flower ClientApp and the wiring of one site."""
