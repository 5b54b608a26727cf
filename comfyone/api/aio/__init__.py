"""The clients for asyncio: each class of `comfyone.api` again, with ``Async`` before its name and ``await`` before its calls."""
