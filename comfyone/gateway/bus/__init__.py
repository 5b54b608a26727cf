"""Events and wake-ups between the parts of a gateway."""
