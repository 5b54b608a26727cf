"""``python -m comfyone``."""

from comfyone.cli import main

main()
