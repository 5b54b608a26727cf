"""The server: tenants, backends, workflows and jobs behind one address."""
