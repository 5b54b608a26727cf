"""How a request gets there and back: calls as data, a retry policy, and a door per colour that does the I/O."""
