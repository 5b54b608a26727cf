"""A registry of backends by app, which selects among them: the vocabulary of the scheduler that came with the first SDK."""
