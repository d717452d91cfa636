"""The processes of a gateway: a master, which serves nobody, and the workers, which it replaces."""
