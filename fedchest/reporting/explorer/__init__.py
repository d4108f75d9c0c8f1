"""The explorer: a run's trail as read-only web pages, rendered on the server from the event index."""
