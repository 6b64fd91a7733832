"""Sub-commands of ``lazyrich``: each module has ``register(subparsers)``."""
