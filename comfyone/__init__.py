"""comfyone: any number of ComfyUI servers as one dependable backend, and the SDK that calls it."""
