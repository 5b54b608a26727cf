"""The vocabulary of Comfy API v2: ``/api/v2/*``, as its official clients speak it."""
