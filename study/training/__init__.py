"""Training with TRL's own trainer on tiny policies, with and without MMR (study/README.md)."""
