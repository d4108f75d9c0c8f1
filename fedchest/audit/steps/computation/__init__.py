"""The layer of the computation: what follows from the opened updates and the events, computed again."""
