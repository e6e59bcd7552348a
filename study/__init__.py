"""Whether MMR-GRPO takes fewer steps: a published table, a simulation, and training with TRL (study/README.md)."""
