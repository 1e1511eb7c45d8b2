"""Meta-updates of policies over stored trajectories."""
