"""The chain of steps, from references to references: what components and commands call."""
