"""Ways to run the same ServerApp and ClientApp: in one process, in Flower's simulation engine, deployed."""
