"""The scheduler at a size that no machine here has: its own code, with made-up backends, tenants and jobs."""
