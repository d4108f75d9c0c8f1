"""Reading the trail and replaying it."""
