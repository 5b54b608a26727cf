"""The clients: `comfyone.api.client` speaks REST, `comfyone.api.websocket` listens, `comfyone.api.comfyone` is both."""
