"""Facts and rules, free of I/O."""
