"""The engine: places jobs on backends and follows each to its end."""
