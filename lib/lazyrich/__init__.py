"""Training regimes of wide neural networks: lazy, rich, and how to tell them apart."""
