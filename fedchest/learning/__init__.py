"""Objectives, DP-SGD, the trainer and metrics."""
