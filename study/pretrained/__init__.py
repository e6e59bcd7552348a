"""Training from a pretrained start, in which ways of answering arise by themselves and none is paid more."""
