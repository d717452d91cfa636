"""Making one place like another: a folder, or a server, in either direction, in memory that does not grow with them."""
