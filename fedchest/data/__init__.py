"""CheXpert reading, the rendered cohort, partitioning and the image cache."""
