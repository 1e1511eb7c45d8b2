"""A search over hyper-parameters: Optuna proposes values, ordinary training runs judge them, on training tasks alone.

A trial's value is the mean over seeds of a column of `progress.csv`, which speaks of the tasks that training draws; the
held-out tasks of an evaluation are never touched, so the best trial may be evaluated on them without bias.

What a sampler proposes depends on (sampler seed, trial number) and the values of the trials before. Trials run one
after the other and their runs resume bit for bit, so an interrupted sweep ends as an uninterrupted one does.
"""
