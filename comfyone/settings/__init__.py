"""What can be set, and where from: a YAML file, the environment (``COMFYONE_*``), the command line, each above the one before."""
