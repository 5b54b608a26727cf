"""HTTP and WebSocket vocabularies over one core."""
