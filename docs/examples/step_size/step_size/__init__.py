"""A system of one's own: the step size of gradient descent, learned across noisy quadratics."""
