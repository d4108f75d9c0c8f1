"""Reading a run's trail, and checking it against the chain while trusting nobody."""
