"""The rows of the engine's tables with what `_core` does not tell of them yet."""

from typing import NamedTuple


class Parameter(NamedTuple):
    name: str
    default: float | bool
    low: float
    high: float
    closed: str
    doc: str


class Row(NamedTuple):
    name: str
    class_name: str
    doc: str
    parameters: tuple = ()
    hidden: bool = True
    targets: str = ""
    out_activation: str = ""
    n_slots: int = 0


ACTIVATIONS = {
    r.name: r
    for r in (
        Row("identity", "Identity", "f(x) = x; in all layers it makes the model linear"),
        Row("logistic", "Logistic", "the sigmoid f(x) = 1 / (1 + exp(-x))"),
        Row("tanh", "Tanh", "the hyperbolic tangent f(x) = tanh(x)"),
        Row("relu", "ReLU", "the rectified linear unit f(x) = max(0, x)"),
        Row("exp", "Exp", "the exponential f(x) = exp(x), for positive outputs", hidden=False),
    )
}
LOSSES = {
    r.name: r
    for r in (
        Row(
            "squared_error",
            "SquaredError",
            "half the squared error",
            targets="real",
            out_activation="identity",
        ),
        Row(
            "poisson",
            "Poisson",
            "half the Poisson deviance, for counts and rates; predictions are positive",
            targets="nonnegative",
            out_activation="exp",
        ),
        Row("log_loss", "LogLoss", "", targets="class"),
    )
}
OPTIMIZERS = {
    r.name: r
    for r in (
        Row(
            "sgd",
            "SGD",
            "gradient descent on mini-batches with momentum",
            (
                Parameter(
                    "momentum",
                    0.9,
                    0,
                    1,
                    "both",
                    "momentum coefficient, the share of the previous step added to the next",
                ),
                Parameter("nesterov", True, 0, 1, "both", "whether momentum takes Nesterov's form"),
            ),
            n_slots=1,
        ),
        Row(
            "adam",
            "Adam",
            "steps scaled for each weight by running averages of its gradient and of its square",
            (
                Parameter("beta_1", 0.9, 0, 1, "left", "decay of the average of gradients"),
                Parameter(
                    "beta_2", 0.999, 0, 1, "left", "decay of the average of squared gradients"
                ),
                Parameter(
                    "epsilon",
                    1e-8,
                    0,
                    float("inf"),
                    "neither",
                    "added to the denominator of the step",
                ),
            ),
            n_slots=2,
        ),
    )
}
