"""Privacy accounting: the epsilon of a patient cohort, pure and persistent."""
