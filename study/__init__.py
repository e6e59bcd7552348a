"""When MMR-GRPO converges faster: what the published table says, and a simulation with an exact policy."""
