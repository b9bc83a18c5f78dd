"""Benchmark of the program on this machine: cases, timing, results as JSON, tables for docs/performance.md."""
