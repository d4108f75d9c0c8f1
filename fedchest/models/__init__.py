"""Networks: encoders without batch statistics, the multi-label head, label prototypes, named weights."""
