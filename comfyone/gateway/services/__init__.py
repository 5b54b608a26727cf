"""Use cases, a module per noun. Every one takes the principal who asks."""
