"""Every constructor parameter and every fitted attribute once.

The estimators' signatures, annotations and docstrings in ``mlp.py`` are written from these tables
by ``tools/generate.py``, as static text for editors and readers. What is checked at run time, the
constraints and what a string means, is read from here.

In the texts ``{members}`` is the list of a family's members, ``{score}`` what early stopping looks
at and ``{output}`` the activation of the output layer.
"""

import functools
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import get_scorer_names

from ._families import Choice
from ._network import PRECISIONS
from ._sklearn import Interval, Options, StrOptions
from .activations import ACTIVATIONS, OUT_ACTIVATIONS, Activation
from .initializers import INITIALIZERS, Initializer
from .losses import CLASSIFIER_LOSSES, LOSSES
from .optimizers import OPTIMIZERS, Optimizer
from .schedules import SCHEDULES, Custom, Schedule


class Parameter(NamedTuple):
    """A parameter of the constructors."""

    default: Any
    constraints: list[Any]  # of scikit-learn's validation
    annotation: str  # in the signature
    type: str  # in the docstring
    text: str
    estimators: tuple[str, ...] = ("MLPClassifier", "MLPRegressor")
    name: str | None = None  # if it is not the key: of two estimators in different places


class Attribute(NamedTuple):
    """An attribute of fitted estimators."""

    type: str
    text: str
    estimators: tuple[str, ...] = ("MLPClassifier", "MLPRegressor")


def _family(
    default: str,
    members: dict[str, type[Choice]],
    base: type[Choice],
    text: str,
    estimators: tuple[str, ...] = ("MLPClassifier", "MLPRegressor"),
    *,
    per_layer: bool = False,
    function: str = "",  # annotation of one that may take a member's place
) -> Parameter:
    one = f"{base.__name__}Name | {base.__name__}"
    names = f"{{{', '.join(map(repr, members))}}}"
    also = [*([list, tuple] if per_layer else []), *([callable] if function else [])]
    return Parameter(
        default,
        [StrOptions(set(members)), base, *also],
        one + f" | Sequence[{one}]" * per_layer + f" | {function}" * bool(function),
        # A list of all names follows.
        f"{names if len(names) < 50 else 'str'} or {base.__name__}"
        + ", or list" * per_layer
        + ", or callable" * bool(function),
        text,
        estimators,
    )


def _losses(default: str, members: dict[str, type[Choice]], kind: str, *rest: Any) -> Parameter:
    return Parameter(
        default,
        [StrOptions(set(members)), *members.values()],
        f"{kind}Name | Loss",
        "str or Loss",
        *rest,
    )


def _flag(default: bool, text: str) -> Parameter:
    return Parameter(default, ["boolean"], "bool", "bool", text)


def _count(default: int, text: str) -> Parameter:
    return Parameter(default, [Interval(Integral, 1, None, closed="left")], "int", "int", text)


def _real(default: float, low: float, high: float | None, closed: str, text: str) -> Parameter:
    return Parameter(default, [Interval(Real, low, high, closed=closed)], "float", "float", text)


# In the order of the signature; those up to `activation` may be given by position.
LAST_POSITIONAL = "activation"

PARAMETERS = {
    "loss": _losses(
        "squared_error",
        LOSSES,
        "Loss",
        """
        Loss, a name or an object of :mod:`fastmlp.losses`:

        {members}

        The last three, and only they, need `out_activation` to be positive, and targets that are
        positive too ('gamma') or not negative. ``Quantile([0.1, 0.5, 0.9])`` predicts one quantile
        for each level, as columns (the last axis) which never cross: each is trained for itself,
        and predictions are sorted, which brings them no further from the true quantiles [6]_.
        """,
        ("MLPRegressor",),
    ),
    "hidden_layer_sizes": Parameter(
        (100,),
        ["array-like", Interval(Integral, 1, None, closed="left"), str],
        "int | Sequence[int] | NDArray[np.integer] | str",
        "int, array-like of shape (n_hidden_layers,) or str",
        """
        Width of each hidden layer, from input to output. An int means one hidden layer; an empty
        sequence none, which makes the model linear; a string such as '64-64-32' is a sequence that
        any search can try. One or two layers of 50 to 500 units suit most tabular data; time and
        memory grow with the product of neighbouring widths.
        """,
    ),
    "activation": _family(
        "relu",
        ACTIVATIONS,
        Activation,
        """
        Activation of the hidden layers, a name or an object of :mod:`fastmlp.activations`, or a
        list of them with one for each hidden layer. 'relu' is the usual choice and the fastest;
        'tanh' is smooth, which 'lbfgs' likes, and bounded. Initial weights are larger by
        ``sqrt(3)`` for all but 'logistic', as in scikit-learn.

        {members}
        """,
        per_layer=True,
    ),
    "solver": _family(
        "adam",
        OPTIMIZERS,
        Optimizer,
        """
        Optimizer, a name or an object of :mod:`fastmlp.optimizers`. 'adam' works well on most data
        without tuning, 'lbfgs' converges faster and further on small data (up to a few thousand
        samples), 'sgd' can end at a better model once its learning rate is tuned. All of them
        need features of similar scale: put a :class:`~sklearn.preprocessing.StandardScaler` in
        front. An object carries its own parameters; the strings take `momentum` and
        `nesterovs_momentum` ('sgd'), `beta_1`, `beta_2` and `epsilon` ('adam') and `max_fun`
        ('lbfgs'), all others the defaults of their objects. `alpha` applies to all; with
        'adamw' set it to 0.

        {members}
        """,
    ),
    "alpha": _real(
        0.0001,
        0,
        None,
        "left",
        """
        Strength of the L2 regularisation: the loss of a mini-batch of n samples gains
        ``alpha / (2 n)`` times the sum of all squared weights. Biases are not penalised. Values
        from 1e-5 to 10 on a logarithmic grid are worth a search.
        """,
    ),
    "batch_size": Parameter(
        "auto",
        [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        'int | Literal["auto"]',
        "int or 'auto'",
        """
        Number of samples in a mini-batch; 'auto' is ``min(200, n_samples)``. The last mini-batch of
        an epoch may be smaller. Not used by 'lbfgs'.
        """,
    ),
    "learning_rate": _family(
        "constant",
        SCHEDULES,
        Schedule,
        """
        Learning rate schedule, a name, an object of :mod:`fastmlp.schedules`, or a function that
        takes the number of an epoch, the first being 0, and returns a factor by which
        `learning_rate_init` is multiplied:

        {members}

        Objects may begin with a warm-up. Not used by 'lbfgs', which refuses all but scikit-learn's
        'constant', 'invscaling' and 'adaptive'.
        """,
        function="Callable[[int], float]",
    ),
    "learning_rate_init": _real(
        0.001,
        0,
        None,
        "neither",
        """
        Initial learning rate, the most important parameter of all solvers but 'lbfgs', which does
        not use it: typically 1e-4 to 1e-2 for 'adam' and its relatives, 1e-3 to 1e-1 for 'sgd',
        1e-2 for 'adagrad', 1.0 for 'adadelta', 1e-4 for 'lion'.
        """,
    ),
    "power_t": _real(
        0.5, 0, None, "left", "Exponent of the schedule 'invscaling'. Only used by 'sgd'."
    ),
    "max_iter": _count(
        200, "Largest number of epochs, for 'lbfgs' of iterations. A fit that ends there warns."
    ),
    "shuffle": Parameter(
        True,
        ["boolean", StrOptions({"chunks"})],
        'bool | Literal["chunks"]',
        "bool or 'chunks'",
        """
        Whether to shuffle the samples before each epoch. 'chunks' is for files that are larger
        than memory: pieces of 1 MB of consecutive samples follow each other at random, and those
        of 32 MB are read and shuffled together [7]_. So a file is read in long pieces, and
        no list of all samples is made. It takes a copy of each sample per epoch; mini-batches are
        less mixed than those of a full shuffle if the samples are sorted. Not used by 'lbfgs'.
        """,
    ),
    "random_state": Parameter(
        None,
        ["random_state"],
        "int | np.random.RandomState | None",
        "int, RandomState instance or None",
        """
        Seed or generator of the initial weights, the validation split and the order of the
        samples. The same int gives the same fit, bit by bit, for any number of threads. None uses
        NumPy's global generator.
        """,
    ),
    "tol": _real(
        1e-4,
        0,
        None,
        "left",
        """
        Least improvement of the loss, or of the validation score with `early_stopping`, that counts
        as progress. For 'lbfgs': training stops when no entry of the projected gradient is larger.
        """,
    ),
    "verbose": Parameter(
        False,
        ["verbose"],
        "bool | int",
        "bool or int",
        """
        Whether to print loss and validation score of each epoch. 2: a progress bar instead, if the
        package tqdm is installed.
        """,
    ),
    "warm_start": _flag(
        False,
        """
        Whether `fit` continues from the weights of the previous call instead of new random ones.
        Loss curve and counters are continued, the optimizer's state starts anew.
        """,
    ),
    "momentum": _real(
        0.9, 0, 1, "both", "Momentum coefficient of 'sgd', in [0, 1]; typically 0.9 to 0.99."
    ),
    "nesterovs_momentum": _flag(True, "Whether 'sgd' uses Nesterov's form of momentum."),
    "early_stopping": _flag(
        False,
        """
        Whether to hold out `validation_fraction` of the data, stop when the score on it, see
        `scoring`, has not improved by `tol` for more than `n_iter_no_change` epochs, and return
        the weights that scored best. {split}Nothing is held out if validation data are given to
        `fit`; without them it is not used by 'lbfgs' and not available in `partial_fit`.
        """,
    ),
    "validation_fraction": _real(
        0.1,
        0,
        1,
        "left",
        "Fraction of the data that `early_stopping` holds out, in [0, 1).",
    ),
    "beta_1": _real(
        0.9, 0, 1, "left", "Decay of the average of gradients kept by 'adam', in [0, 1)."
    ),
    "beta_2": _real(
        0.999, 0, 1, "left", "Decay of the average of squared gradients kept by 'adam', in [0, 1)."
    ),
    "epsilon": _real(
        1e-8,
        0,
        None,
        "neither",
        """
        Added to the denominator of the step of 'adam', for stability, as no less than the smallest
        normal number of the arithmetic (1.2e-38 in float32).
        """,
    ),
    "n_iter_no_change": Parameter(
        10,
        [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "int | float",
        "int or inf",
        """
        Number of successive epochs without progress by `tol` that are tolerated. Not used by
        'lbfgs'.
        """,
    ),
    "max_fun": _count(15000, "Largest number of evaluations of the loss by 'lbfgs'."),
    "max_grad_norm": Parameter(
        None,
        [Interval(Real, 0, None, closed="neither"), None],
        "float | None",
        "float or None",
        """
        Norm to which the gradient of a mini-batch, that of all parameters together and with the L2
        term, is scaled down if it is larger (Pascanu, Mikolov, Bengio 2013, ICML): typically 0.5
        to 5, where single mini-batches would throw training off its course. None: no limit. Not
        available with 'lbfgs'.
        """,
    ),
    "weight_averaging": Parameter(
        None,
        [Interval(Real, 0, 1, closed="neither"), None],
        "float | None",
        "float or None",
        """
        Decay, in (0, 1), of an exponential moving average of all parameters that takes the place of
        the last ones in `coefs_` and `intercepts_`, predictions and validation scores (Polyak,
        Juditsky 1992, SIAM J. Control Optim. 30): after update t it is the mean of the parameters
        after updates 1 to t, weighted by ``weight_averaging**age``; the initial ones are not in it
        (the correction of Kingma, Ba 2015, section 7.2). 0.99 to 0.999 suit some thousand updates.
        `loss_curve_` is the loss of the parameters themselves, with which `partial_fit` goes on; a
        warm start begins at the average. None: no average. Not available with 'lbfgs' and with
        ``normalization='batch'``.
        """,
    ),
    "normalization": Parameter(
        None,
        [StrOptions({"batch", "layer"}), None, "array-like"],
        "str | Sequence[str | None] | None",
        "{'batch', 'layer'}, None or array-like of shape (n_hidden_layers,)",
        """
        Normalisation of what enters the activation of each hidden layer, one for all layers or one
        for each; a scale and a shift per unit are trained, without L2 term. It lets deep networks
        train at higher learning rates.

        - 'batch': every unit to mean 0 and variance 1 over the mini-batch, in predictions by
          running averages of both with momentum 0.1 (Ioffe and Szegedy 2015, arXiv:1502.03167).
          Each mini-batch needs two samples at least, all are in memory at once, and
          `sample_weight` has no influence on mean and variance. Biases of such layers have no
          effect and stay as drawn. Not available with 'lbfgs'.
        - 'layer': every sample to mean 0 and variance 1 over the units of the layer (Ba, Kiros and
          Hinton 2016, arXiv:1607.06450).

        Variances are increased by 1e-5 before the square root is taken.
        """,
    ),
    "residual": _flag(
        False,
        """
        Whether hidden layers add what they are given to what they put out, after dropout; where the
        width changes it goes through a projection without biases, which is trained and regularised
        like other weights (He, Zhang, Ren and Sun 2016, arXiv:1512.03385). It lets networks of
        many layers train.
        """,
    ),
    "dropout": Parameter(
        0.0,
        [Interval(Real, 0, 1, closed="left"), "array-like"],
        "float | Sequence[float]",
        "float or array-like of shape (n_hidden_layers,)",
        """
        Share of the outputs of each hidden layer that training sets to 0, in [0, 1), one number for
        all layers or one for each: other ones in every step, drawn at random, while those that
        are kept are divided by ``1 - dropout``. It keeps units from relying on one another;
        0.2 to 0.5 suits wide networks that overfit (Srivastava et al. 2014, JMLR 15). Predictions
        and validation scores use all units, `loss_curve_` is the loss with dropout. Not available
        with 'lbfgs'.
        """,
    ),
    "input_dropout": _real(
        0.0, 0, 1, "left", "The same of the features in X, zeros included; rarely above 0.2."
    ),
    "fit_intercept": _flag(
        True,
        """
        Whether the layers have biases. If not, `intercepts_` are zeros, which are neither drawn nor
        trained; a warm start keeps those that it finds.
        """,
    ),
    "n_jobs": Parameter(
        None,
        [Integral, None],
        "int | None",
        "int or None",
        """
        Number of threads for training and prediction. None: all CPUs available to the process, one
        inside a joblib worker. -1: all CPUs. Small problems use one thread in any case. Results do
        not depend on it.
        """,
    ),
    "precision": Parameter(
        "auto",
        [StrOptions(set(PRECISIONS))],
        f"Literal[{', '.join(map(repr, PRECISIONS))}]".replace("'", '"'),
        f"{{{', '.join(map(repr, PRECISIONS))}}}",
        """
        Arithmetic of training and prediction, and with it the dtype of weights and results:

        - 'auto': float32 for X of dtype float32, float64 for any other
        - 'float32': halves time and memory for float64 X and is accurate enough for nearly all
          fits with 'sgd' and 'adam'
        - 'float64': for any X
        - 'bfloat16': float32, except that operands of matrix products (X, weights, activations,
          back-propagated gradients) are rounded to bfloat16, which has eight significant bits.
          Sums, weights, biases, optimizer state and losses are float32. Meant for large networks
          on CPUs with instructions for such products (AMX, AVX512_BF16); elsewhere slower than
          'float32'. 'lbfgs' may end early on so coarse a loss.
        """,
    ),
    "class_weight": Parameter(
        None,
        [dict, list, StrOptions({"balanced"}), None],
        'dict[Any, float] | list[dict[int, float]] | Literal["balanced"] | None',
        "dict, list of dicts, 'balanced' or None",
        """
        Weights of the classes in the loss: that of a sample is multiplied by that of its class.
        Scores are not affected. A dict has weights by class, 1 for those left out. 'balanced' is
        ``n_samples / (n_classes * np.bincount(y))``, each class then counts as much as any other;
        not available in `partial_fit`. Multilabel targets take 'balanced', or a list with a dict
        ``{0: weight, 1: weight}`` for each label; weights of a sample's labels are multiplied.
        """,
        ("MLPClassifier",),
    ),
    "classifier_loss": _losses(
        "log_loss",
        CLASSIFIER_LOSSES,
        "ClassifierLoss",
        """
        Loss, a name or an object of :mod:`fastmlp.losses`:

        {members}

        With two classes, or several labels per sample, p is the probability of what is true of
        each output, and the loss is summed over the outputs.
        """,
        ("MLPClassifier",),
        "loss",
    ),
    "label_smoothing": _real(
        0.0,
        0,
        1,
        "left",
        """
        Share e of a target that is spread over all K classes [6]_: the network is trained for the
        probability ``1 - e + e / K`` of the true class and ``e / K`` of the others, which keeps it
        from growing overconfident; typically 0.1. With two classes, and for each label of several,
        K is 2. `loss_` is that of the smoothed targets; accuracies are not affected.
        """,
    )._replace(estimators=("MLPClassifier",)),
    "out_activation": Parameter(
        "auto",
        [StrOptions({"auto", *OUT_ACTIVATIONS}), Activation],
        'OutActivationName | Activation | Literal["auto"]',
        "str or Activation",
        f"""
        Activation of the output layer: 'auto' is the usual one of the loss, 'exp' for 'poisson',
        'gamma' and 'tweedie' and 'identity' for all others; else one of
        {", ".join(map(repr, OUT_ACTIVATIONS))} or its object. 'relu', 'softplus' and 'exp' are for
        targets that are never negative, 'logistic' and 'tanh' for targets in (0, 1) and (-1, 1).
        """,
        ("MLPRegressor",),
    ),
    "scoring": Parameter(
        None,
        [StrOptions({"loss", *get_scorer_names()}), callable, None],
        "str | Callable[..., float] | None",
        "str, callable or None",
        """
        Score on the validation data; greater is better. None: the {score}. 'loss': the loss with
        its sign changed, without regularisation. Else a name known to
        :func:`sklearn.metrics.get_scorer`, or a callable ``scoring(estimator, X_val, y_val)``,
        which is given ``sample_weight=`` if there are sample weights.
        """,
    ),
    "target_loss": Parameter(
        None,
        [Interval(Real, None, None, closed="neither"), None],
        "float | None",
        "float or None",
        "Training stops after the first epoch whose loss, `loss_`, is no greater. None: never.",
    ),
    "target_score": Parameter(
        None,
        [Interval(Real, None, None, closed="neither"), None],
        "float | None",
        "float or None",
        """
        Training stops after the first epoch whose validation score is no smaller. It needs
        validation data: those of `early_stopping`, or your own, which may be the training data.
        None: never.
        """,
    ),
    "time_limit": Parameter(
        None,
        [Interval(Real, 0, None, closed="neither"), None],
        "float | None",
        "float or None",
        """
        Seconds after which training stops, if need be within an epoch: that epoch counts as one,
        and its loss is that of the samples it has seen ('lbfgs': after an iteration). None: no
        limit. Results then depend on the speed of the machine.
        """,
    ),
    "init": Parameter(
        "auto",
        [StrOptions(set(INITIALIZERS)), Initializer, tuple, list],
        "InitializerName | Initializer | tuple[list[Any], list[Any] | None]",
        "str, Initializer or pair of lists of arrays",
        """
        Weights that training from scratch starts from: the name of a distribution, an object of
        :mod:`fastmlp.initializers`, or a pair ``(coefs, intercepts)`` of lists of arrays, shaped
        like `coefs_` and `intercepts_`, which are copied; None for intercepts of 0.

        {members}
        """,
    ),
    "mixup": _real(
        0.0,
        0,
        None,
        "left",
        """
        Parameter of the Beta distribution by which each sample is mixed with another one: X,
        targets and sample weights become ``s * own + (1 - s) * other``, with new pairs in every
        epoch and a new share s in every mini-batch (Zhang et al. 2018, ICLR, arXiv:1710.09412). 0:
        none; 0.1 to 0.4 are usual. CSR matrices stay sparse, with up to twice the non-zeros.
        `loss_curve_` is the loss on mixed samples, validation data are not mixed. Not available
        with 'lbfgs'.
        """,
    ),
}

# What configures the strings: parameters of objects, by the parameters that hold their values.
FLAT = {
    "sgd": {"momentum": "momentum", "nesterov": "nesterovs_momentum"},
    "adam": {"beta_1": "beta_1", "beta_2": "beta_2", "epsilon": "epsilon"},
    "lbfgs": {"max_fun": "max_fun"},
    "invscaling": {"power": "power_t"},
}

# Parameters that take a member of a family.
FAMILIES = {
    "activation": ACTIVATIONS,
    "out_activation": OUT_ACTIVATIONS,
    "loss": LOSSES | CLASSIFIER_LOSSES,
    "solver": OPTIMIZERS,
    "learning_rate": SCHEDULES,
    "init": INITIALIZERS,
}


def parameters(estimator: str) -> dict[str, Parameter]:
    """Return the parameters of the estimator of this name."""
    return {
        parameter.name or key: parameter
        for key, parameter in PARAMETERS.items()
        if estimator in parameter.estimators
    }


def members(estimator: str, parameter: str) -> dict[str, type[Choice]]:
    """Return the members of a family that a parameter of this estimator takes, by name."""
    if parameter == "loss":
        return CLASSIFIER_LOSSES if estimator == "MLPClassifier" else LOSSES
    return FAMILIES.get(parameter, {})


def constraints(estimator: str) -> dict[str, list[Any]]:
    """Return the constraints on the parameters of the estimator of this name."""
    return {name: parameter.constraints for name, parameter in parameters(estimator).items()}


def named(est: Any, parameter: str) -> Any:
    """Return the object that the value of a parameter stands for."""
    value = getattr(est, parameter)
    if not isinstance(value, str):
        is_function = parameter == "learning_rate" and not isinstance(value, Schedule)
        return Custom(value) if is_function else value
    flat = [(own, getattr(est, name)) for own, name in FLAT.get(value, {}).items()]
    return _made(FAMILIES[parameter][value], *flat)


@functools.lru_cache(maxsize=1024)
def _made(cls: type[Choice], *params: tuple[str, Any]) -> Choice:
    """Return an object, which is a value, the same for the same parameters: checks take 10 us."""
    return cls(**dict(params))


ATTRIBUTES = {
    "classes_": Attribute(
        "ndarray of shape (n_classes,)",
        """
        Class labels in ascending order; for multilabel targets, the column indices of y.
        """,
        ("MLPClassifier",),
    ),
    "class_weight_": Attribute(
        "ndarray of shape (n_classes,) or (n_labels, 2)",
        """
        Weights of the classes in the loss; for multilabel targets, of the absence and the presence
        of each label. Set only if `class_weight` is.
        """,
        ("MLPClassifier",),
    ),
    "loss_": Attribute(
        "float",
        """
        Loss of the last epoch: the mean over its mini-batches, regularisation included. For
        'lbfgs' the loss at the end.
        """,
    ),
    "best_loss_": Attribute(
        "float or None",
        """
        Smallest entry of `loss_curve_`; None with `early_stopping`. Not set by ``solver='lbfgs'``.
        """,
    ),
    "loss_curve_": Attribute(
        "list of float",
        """
        Loss of every epoch since training from scratch began. Warm starts and `partial_fit` append
        to it, so that it grows without bound. Not set by ``solver='lbfgs'``.
        """,
    ),
    "learning_rate_curve_": Attribute(
        "list of float",
        """
        Learning rate of every epoch in `loss_curve_`, without the bias corrections of 'adam'; NaN
        where it is not known. Not set by ``solver='lbfgs'``.
        """,
    ),
    "validation_scores_": Attribute(
        "list of float or None",
        """
        {Score} on the validation data, or what `scoring` says, after every epoch; None without
        validation data.
        """,
    ),
    "best_validation_score_": Attribute(
        "float or None",
        """
        Largest entry of `validation_scores_`; None without validation data.
        """,
    ),
    "best_iteration_": Attribute(
        "int",
        """
        Position in `validation_scores_`, counted from 1, of the best score; 0 if all are NaN. There
        only with validation data.
        """,
    ),
    "validation_loss_curve_": Attribute(
        "list of float",
        """
        Loss on the validation data after every epoch, without regularisation. Set only if
        validation data are given to `fit` or `scoring` is set.
        """,
    ),
    "stop_reason_": Attribute(
        "str or None",
        """
        Why the last call stopped: the parameter that ended it, 'n_iter_no_change', 'max_iter',
        'target_loss', 'target_score', 'time_limit', for 'lbfgs' also 'tol' and 'max_fun'; or
        'callback', 'interrupted' by Ctrl-C, or 'abnormal' if 'lbfgs' found no better weights. None
        after a `partial_fit` that ended with its epoch.
        """,
    ),
    "t_": Attribute("int", "Number of samples trained on, each counted once per epoch."),
    "coefs_": Attribute(
        "list of ndarray of shape (fan_in, fan_out)",
        """
        Weights of each layer, in the dtype of X ('lbfgs': float64) or as `precision` says. They may
        be changed or replaced before `partial_fit`, a warm start or a prediction by float32 or
        float64 arrays of the same shapes.
        """,
    ),
    "intercepts_": Attribute(
        "list of ndarray of shape (fan_out,)", "Biases of each layer, likewise."
    ),
    "norm_scales_": Attribute(
        "list of (ndarray of shape (width,) or None)",
        "Scales of normalised hidden layers, None for others. Set only with `normalization`.",
    ),
    "norm_shifts_": Attribute(
        "list of (ndarray of shape (width,) or None)", "Their shifts, likewise."
    ),
    "norm_means_": Attribute(
        "list of (ndarray of shape (width,) or None)",
        "Running means of hidden layers with batch normalisation, None for others; likewise.",
    ),
    "norm_variances_": Attribute(
        "list of (ndarray of shape (width,) or None)", "Their running variances, likewise."
    ),
    "skip_coefs_": Attribute(
        "list of (ndarray of shape (fan_in, fan_out) or None)",
        """
        Projections of residual hidden layers, None where the width does not change. Set only with
        `residual`.
        """,
    ),
    "n_iter_": Attribute("int", "Number of epochs or iterations of the last call."),
    "n_layers_": Attribute("int", "Number of layers, input and output included."),
    "n_outputs_": Attribute("int", "Width of the output layer."),
    "levels_": Attribute(
        "ndarray of shape (n_levels,)",
        "Levels of the quantiles that are predicted. Set only if they are several.",
        ("MLPRegressor",),
    ),
    "out_activation_": Attribute("str", "Activation of the output layer: {output}."),
    "n_features_in_": Attribute("int", "Number of features in X."),
    "feature_names_in_": Attribute(
        "ndarray of shape (`n_features_in_`,)",
        "Names of the features. Set only if X has names that are all strings.",
    ),
}


def attributes(estimator: str) -> dict[str, Attribute]:
    """Return the fitted attributes of the estimator of this name."""
    return {name: row for name, row in ATTRIBUTES.items() if estimator in row.estimators}
