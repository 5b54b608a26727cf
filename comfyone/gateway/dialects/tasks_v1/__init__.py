"""Tasks and workers: the vocabulary of ``/api/v1``, after the OpenAPI document of ComfyLess."""
