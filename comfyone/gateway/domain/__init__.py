"""What the gateway is about, without any I/O.

Values that are made for each job or message are msgspec structs, the others dataclasses: a struct of 23 fields is made in 0.9 µs
instead of 5, and copied in 0.3 instead of 9.5. That was a tenth of what a job costs the gateway.
"""
