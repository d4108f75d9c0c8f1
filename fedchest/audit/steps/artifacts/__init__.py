"""The layer of the artifacts: every file is what the chain names, and all that it names is there."""
