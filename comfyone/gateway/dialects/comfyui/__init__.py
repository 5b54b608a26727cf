"""ComfyUI's own vocabulary, as one server would speak it that is all of a tenant's backends."""
