"""Benchmarks of fastmlp against its peers; ``python -m bench --help`` and bench/README.md."""
