"""Administration over HTTP, in the envelope of v1; see docs/reference/admin.md."""
