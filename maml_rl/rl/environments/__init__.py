"""Task environments: the protocol, vectors of them, the oracle's view, and checks of an environment of one's own."""
