"""Live messages about jobs."""
