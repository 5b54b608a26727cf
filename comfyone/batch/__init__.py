"""Many prompts over one server or several: a queue with retries, sweeps over parameters, batches that can be resumed."""
