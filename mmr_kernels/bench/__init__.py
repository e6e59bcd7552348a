"""The library behind ``mmr-kernels bench``: cases, providers, baselines, peers, checks, timing,
records, tables, pictures.

docs/benchmark.md describes it; python_tests and bench/ import the baselines and cases from here.
"""
