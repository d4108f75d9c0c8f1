"""The study's configuration, the round's messages, the run directory, and starting a run."""
