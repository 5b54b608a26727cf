"""Where files of every kind keep the texts that ComfyUI writes into them. A module per family of files.

Each has functions that give the texts of a `Source` as pairs of name and bytes. They read what they need and no more,
follow no length further than the file goes, and raise `Truncated` where it ends too early.
"""
