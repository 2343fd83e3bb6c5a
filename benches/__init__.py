"""Benchmarks against other engines, as ratios from one run; see `README.md` beside this file."""
