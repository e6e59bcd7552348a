"""What ``mmr-kernels bench`` measures and how: cases, providers, baselines, peers, checks, timing, tables, pictures.

docs/benchmark.md describes it; python_tests and bench/ import the baselines and cases from here.
"""
