"""``python -m mmr_kernels``."""

from mmr_kernels.cli import main

main()
