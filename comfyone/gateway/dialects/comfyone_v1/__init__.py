"""The vocabulary of ``comfyone.ComfyOne``; see docs/reference/v1.md."""
