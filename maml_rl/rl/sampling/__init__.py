"""Episodes and rollouts of all tasks in lockstep."""
