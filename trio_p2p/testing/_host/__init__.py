"""A host of the memory network: its TCP, its sockets, and its system."""
