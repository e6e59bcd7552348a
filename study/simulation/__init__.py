"""The simulation: an exact policy over a few ways to answer, with and without MMR (study/simulation.md)."""
