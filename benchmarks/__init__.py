"""One script a question. Run with `python -m benchmarks.NAME` from the root of the repository."""
