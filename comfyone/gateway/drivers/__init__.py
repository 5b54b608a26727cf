"""How the engine speaks to a server that runs graphs."""
