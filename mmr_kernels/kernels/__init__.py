"""Triton kernels (docs/kernel.md). Importing a module of this package imports triton, so only backends do."""
