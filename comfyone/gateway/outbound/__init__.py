"""The way out to addresses that tenants name."""
