"""Small trainings, what optimisers are trained and tested on."""

from maml_rl.problems.corpus import CORPUS, OF_FILES, problem_of
from maml_rl.problems.functions import FUNCTIONS, bowl, quadratic, softmax_of_clusters
from maml_rl.problems.lifetime import RuleOfSeed, lifetime, log_uniform
from maml_rl.problems.networks import classifier, convolutional_classifier, sine_regression
from maml_rl.problems.problem import DataLoss, TrainingProblem, in_precision, noisy, reparameterised, sparse

__all__ = [
    "CORPUS",
    "FUNCTIONS",
    "OF_FILES",
    "DataLoss",
    "RuleOfSeed",
    "TrainingProblem",
    "bowl",
    "classifier",
    "convolutional_classifier",
    "in_precision",
    "lifetime",
    "log_uniform",
    "noisy",
    "problem_of",
    "quadratic",
    "reparameterised",
    "sine_regression",
    "softmax_of_clusters",
    "sparse",
]
