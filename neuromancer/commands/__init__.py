"""The command lines ``neuromancer``, ``neuromancer-train`` and ``neuromancer-convert``."""
