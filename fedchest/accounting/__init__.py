"""Privacy loss: what training costs, and the file that remembers what each patient cohort has spent."""
