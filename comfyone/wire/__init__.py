"""What travels: one module for each vocabulary."""
