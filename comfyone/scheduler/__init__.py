"""The self-hosted scheduler under the names that it had: a gateway, whose registry selects backends and runs jobs on them."""
