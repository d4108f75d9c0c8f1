"""Benchmarks: `python -m benchmarks.NAME [--json]`."""

from fedchest.runtime import prepare

prepare()
