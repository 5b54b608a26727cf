"""One ComfyUI server, from Python: its requests, its messages, its results; blocking and asynchronous."""
