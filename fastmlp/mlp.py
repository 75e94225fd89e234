"""MLPClassifier and MLPRegressor: parameters, validation, prediction.

Here a user's arguments become what ``_fit`` and ``_core`` take. Both classes keep scikit-learn's
names, defaults, random stream, warnings and errors. Whatever is out of the ordinary is left to
scikit-learn's own validation; arrays that plainly need none do not pay for it.
"""

import math
import operator
import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse, sparray, spmatrix
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import Tags, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from . import __version__, _core, _fit
from ._sklearn import (
    Interval,
    Options,
    StrOptions,
    check_sample_weight,
    fit_context,
    is_first_partial_fit,
)
from ._targets import Labels, Values, decode, encode_labels
from ._threads import effective_n_threads

Matrix = ArrayLike | sparray | spmatrix

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)

# Combinations of parameters that scikit-learn has found valid. Its check takes 0.15 ms.
_valid_parameters: set[tuple] = set()


def _is_plain(X: Any) -> bool:
    """Whether X is an array that the engine takes as it is, finite numbers granted."""
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.size > 0
        and (X.dtype == _FLOAT64 or X.dtype == _FLOAT32)
    )


def _is_finite(a: NDArray) -> bool:
    """Whether all numbers are finite. A finite sum says so at once, others may have overflown."""
    if a.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(a.sum()) or bool(np.isfinite(a).all())


def _fits_float32(X: NDArray) -> bool:
    """Whether no number of X is too large for float32."""
    limit = np.finfo(np.float32).max
    return X.dtype == _FLOAT32 or bool(-limit <= X.min() and X.max() <= limit)


def _to_csr(X: Any) -> Any:
    """Turn the sparse matrices that validation lets pass (CSR, CSC) into CSR."""
    return X.tocsr() if issparse(X) else X


class _BaseMLP(BaseEstimator):
    """What both estimators share."""

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"identity", "logistic", "tanh", "relu"})],
        "solver": [StrOptions(set(_fit.SOLVERS))],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "precision": [StrOptions(set(_fit.PRECISIONS))],
    }

    # Differences between the two in how y is validated: options for scikit-learn, and the kinds
    # of NumPy dtypes that need no conversion.
    _y_options: ClassVar[dict[str, bool]]
    _y_plain_kinds: ClassVar[str]

    # ---------------------------------------------------------------------------- validation

    def _validate_params(self) -> None:
        """Check the constructor's parameters, those seen before at a glance."""
        key: list[Any] | None = [type(self)]
        for name in self._parameter_constraints:
            value = getattr(self, name)
            kind = type(value)
            key.append(kind)
            if kind in (int, float, str, bool) or (
                kind is tuple and all(type(item) is int for item in value)
            ):
                key.append(value)
            elif kind not in (type(None), list, np.random.RandomState):
                key = None
                break
        if key is None or tuple(key) not in _valid_parameters:
            super()._validate_params()
            if key is not None and len(_valid_parameters) < 10_000:
                _valid_parameters.add(tuple(key))

    def _knows_width(self, X: NDArray) -> bool:
        """Whether X has as many features as in fit, and there are no names to compare."""
        fitted = self.__dict__
        return "feature_names_in_" not in fitted and fitted.get("n_features_in_") == X.shape[1]

    def _hidden_units(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        try:
            too_small = any(size <= 0 for size in sizes)
            units = [operator.index(size) for size in sizes]
            if any(isinstance(size, bool) for size in sizes):
                raise TypeError  # as in scikit-learn, whose generator takes none for a size
        except TypeError:
            raise TypeError(f"hidden_layer_sizes must hold integers, got {sizes}.") from None
        if too_small:
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return units

    def _validate_data(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Return X and y as arrays (X may be a CSR matrix), features counted and named."""
        to_float32 = _fit.asked_dtype(self) == _FLOAT32
        if (
            _is_plain(X)
            and type(y) is np.ndarray
            and y.ndim == 1
            and len(y) == len(X)
            and y.dtype.kind in self._y_plain_kinds
            and (reset or self._knows_width(X))
            and _is_finite(X)
            and _is_finite(y)
            and (not to_float32 or _fits_float32(X))
        ):
            if reset:
                self.n_features_in_ = X.shape[1]
                self.__dict__.pop("feature_names_in_", None)
            return X, y
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=np.float32 if to_float32 else (np.float64, np.float32),
            reset=reset,
            **self._y_options,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return _to_csr(X), y

    # ----------------------------------------------------------------------------------- fit

    @fit_context
    def fit(self, X: Matrix, y: Matrix, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the network to the training data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data. float32 is computed in float32, anything else in float64, unless
            `precision` says otherwise. CSR matrices stay sparse, other sparse formats become CSR.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, an indicator matrix of several labels per sample (dense or sparse), or
            the numbers to regress on.

        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each sample in the loss. None stands for equal weights.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter is out of its range, if the data are not finite, do not fit together or
            not to those of the fit that is continued (``warm_start``), or if the weights have
            grown beyond all bounds.
        ZeroDivisionError
            If the sample weights of a mini-batch sum to zero.

        Notes
        -----
        Ctrl-C ends training by ``sgd`` or ``adam`` with a warning and leaves a usable estimator;
        ``lbfgs`` passes the ``KeyboardInterrupt`` on, after it has kept the current weights. Any
        other failure leaves the estimator as it was before the call, except that a warm start
        that fails during training has changed the weights.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, *, incremental: bool, classes: Any = None
    ) -> Self:
        fresh = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        before = self.__dict__.copy()
        training = False
        try:
            with _fit.random_stream(self.random_state) as rng:
                solver = self._prepare(X, y, sample_weight, rng, fresh, incremental, classes)
                training = True
                solver.run()
            if not incremental and getattr(self, "_optimizer", None) is not None:
                self._optimizer.finish()
            if not all(np.isfinite(a).all() for a in [*self.coefs_, *self.intercepts_]):
                raise ValueError(
                    "Solver produced non-finite parameter weights. The input data may"
                    " contain large values and need to be preprocessed."
                )
        except BaseException as error:
            # All attributes are new in a fresh fit, none has been touched during preparation. But
            # a fit that was continued has changed weights in place, and an interrupted one is
            # meant to be used.
            if not training or (fresh and isinstance(error, Exception)):
                self.__dict__.clear()
                self.__dict__.update(before)
            raise
        return self

    def _prepare(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        rng: np.random.RandomState,
        fresh: bool,
        incremental: bool,
        classes: Any,
    ) -> "_fit.Stochastic | _fit.LBFGS":
        """Do all that may refuse the arguments, and return the solver ready to run."""
        if incremental:
            self._take_classes(y, classes)
        hidden = self._hidden_units()
        X, y = self._validate_data(X, y, reset=fresh)
        targets = self._encode(y, incremental)
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, X)
        if fresh:
            units = (X.shape[1], *hidden, targets.n_outputs)
            self.out_activation_ = targets.out_activation
            _fit.initialize(self, units, _fit.net_dtype(self, X), rng)
        else:
            units = self._known_units(X.shape[1], len(hidden), targets.n_outputs)
        self.n_outputs_ = targets.n_outputs
        n_threads = effective_n_threads(self.n_jobs)
        problem = _fit.Problem(X, targets, sample_weight, units, n_threads)
        return _fit.SOLVERS[self.solver](self, problem, rng, incremental)

    def _known_units(self, n_features: int, n_hidden: int, n_outputs: int) -> tuple[int, ...]:
        """Return the widths of the layers of the network that is to be trained on."""
        if n_hidden != self.n_layers_ - 2:
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes} asks for {n_hidden} hidden layers, "
                f"but the network that is to be trained on has {self.n_layers_ - 2}."
            )
        coefs, _ = _fit.parameters(self, n_features)
        if n_outputs != self.n_outputs_:
            raise ValueError(
                f"y has {n_outputs} outputs, but the network that is to be trained on has "
                f"{self.n_outputs_}."
            )
        return (n_features, *(W.shape[1] for W in coefs))

    def _take_classes(self, y: Any, classes: Any) -> None:
        """Hook of the classifier: look at the classes given to ``partial_fit``."""

    # ------------------------------------------------------------------------------- predict

    def _outputs(self, X: Any) -> NDArray:
        """Return the output layer's activations, of shape (n_samples, n_outputs).

        Their dtype is the one that ``precision`` names, else that of NumPy's products of X and the
        weights.
        """
        fitted = self.__dict__
        if "coefs_" not in fitted:
            check_is_fitted(self, "coefs_")
        n_threads = effective_n_threads(self.n_jobs)
        layers = _fit.activations(self)
        asked, bfloat16 = _fit.asked_dtype(self), _fit.in_bfloat16(self)
        if _is_plain(X) and self._knows_width(X):
            coefs, intercepts = fitted["coefs_"], fitted["intercepts_"]
            try:
                dtype = coefs[0].dtype
                if dtype == asked or (asked is None and (X.dtype == _FLOAT32 or dtype == _FLOAT64)):
                    outputs = _core.predict(
                        X,
                        coefs,
                        intercepts,
                        layers,
                        bfloat16=bfloat16,
                        n_threads=n_threads,
                        check_finite=True,
                    )
                    if outputs is not None:
                        return outputs
            except (AttributeError, LookupError, TypeError, ValueError):
                pass  # told below, and better
        options = {"dtype": np.float32} if asked == _FLOAT32 else {}
        X = _to_csr(validate_data(self, X, accept_sparse=["csr", "csc"], reset=False, **options))
        coefs, intercepts = _fit.parameters(self, X.shape[1])
        dtype = asked or np.result_type(X.dtype, *coefs, *intercepts)
        if dtype != _FLOAT32:
            dtype = _FLOAT64  # wider ones and integers
        if X.dtype != _FLOAT32:
            X = X.astype(dtype, copy=False)
        coefs = [np.require(W, dtype, "CA") for W in coefs]
        intercepts = [np.require(b, dtype, "CA") for b in intercepts]
        return _core.predict(X, coefs, intercepts, layers, bfloat16=bfloat16, n_threads=n_threads)

    # ------------------------------------------------------------------- scikit-learn's hooks

    # BaseEstimator notes and compares versions for scikit-learn's own estimators only.

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_fastmlp_version": __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        version = state.pop("_fastmlp_version", "unknown")
        if version != __version__:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=f"fastmlp.{type(self).__name__}",
                    current_sklearn_version=__version__,
                    original_sklearn_version=version,
                ),
                stacklevel=2,
            )
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class MLPClassifier(ClassifierMixin, _BaseMLP):
    """Multilayer perceptron classifier.

    A feedforward network [1]_ that minimises the log loss: scikit-learn's estimator of the same
    name, computed faster.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of shape (n_hidden_layers,), default=(100,)
        Units of each hidden layer, from input to output. An int stands for one hidden layer; an
        empty sequence for none, which makes the model linear.

    activation : {'identity', 'logistic', 'tanh', 'relu'}, default='relu'
        Function applied to the units of all hidden layers:

        - 'identity', f(x) = x
        - 'logistic', the sigmoid f(x) = 1 / (1 + exp(-x))
        - 'tanh', f(x) = tanh(x)
        - 'relu', f(x) = max(0, x)

    solver : {'lbfgs', 'sgd', 'adam'}, default='adam'
        What minimises the loss:

        - 'lbfgs', SciPy's quasi-Newton method with limited memory [5]_. It uses all of X for every
          step and suits small data.
        - 'sgd', gradient descent on mini-batches with momentum
        - 'adam', mini-batch steps scaled for each weight by running averages of the gradient and
          of its square [4]_

    alpha : float, default=0.0001
        Strength of the L2 penalty: the loss of a mini-batch of n samples gains
        ``alpha / (2 n)`` times the sum of all squared weights. Intercepts are not penalised.

    batch_size : int or 'auto', default='auto'
        Samples in a mini-batch; 'auto' is ``min(200, n_samples)``. What is left at the end of an
        epoch makes a smaller one. Not used by 'lbfgs'.

    learning_rate : {'constant', 'invscaling', 'adaptive'}, default='constant'
        How the step size of 'sgd' develops:

        - 'constant', it stays at `learning_rate_init`.
        - 'invscaling', it is ``learning_rate_init / (t_ + 1) ** power_t`` after each epoch.
        - 'adaptive', it is divided by 5 whenever `n_iter_no_change` epochs have brought no progress
          by `tol`; below 1e-6 training stops.

        Not used by 'adam' and 'lbfgs'.

    learning_rate_init : float, default=0.001
        Step size of 'sgd' and 'adam' at the beginning.

    power_t : float, default=0.5
        Exponent of the schedule 'invscaling' of 'sgd'.

    max_iter : int, default=200
        Largest number of epochs ('sgd', 'adam'), or of iterations ('lbfgs').

    shuffle : bool, default=True
        Whether 'sgd' and 'adam' visit the samples in a new random order in every epoch.

    random_state : int, RandomState instance or None, default=None
        Source of the initial weights, the validation split and the order of the samples. The same
        int gives the same fit, bit by bit, for any number of threads. None uses NumPy's global
        generator.

    tol : float, default=1e-4
        Least improvement of the loss, or of the validation score with `early_stopping`, that counts
        as progress. For 'lbfgs' the largest entry of the projected gradient at which it stops.

    verbose : bool or int, default=False
        Whether to print loss and validation score of each epoch.

    warm_start : bool, default=False
        Whether `fit` starts from the weights of the previous call instead of new random ones.
        Loss curve and counters are continued, the averages kept by 'sgd' and 'adam' start anew.

    momentum : float, default=0.9
        Share of the previous step that 'sgd' adds to the next, from 0 to 1.

    nesterovs_momentum : bool, default=True
        Whether 'sgd' uses momentum in Nesterov's form.

    early_stopping : bool, default=False
        Whether to hold out `validation_fraction` of the data, stop when the accuracy on it makes no
        progress, and keep the weights that scored best. The split keeps the proportions of two
        classes; with more classes, or several labels per sample, it is purely random. Not used by
        'lbfgs', not allowed in `partial_fit`.

    validation_fraction : float, default=0.1
        Share of the data that `early_stopping` holds out, at least 0 and below 1.

    beta_1 : float, default=0.9
        Decay of adam's average of gradients, at least 0 and below 1.

    beta_2 : float, default=0.999
        Decay of adam's average of squared gradients, at least 0 and below 1.

    epsilon : float, default=1e-8
        Added to the denominator of adam's step, as no less than the smallest normal number of the
        arithmetic (1.2e-38 in float32).

    n_iter_no_change : int or inf, default=10
        Epochs in a row without progress that are tolerated. Not used by 'lbfgs'.

    max_fun : int, default=15000
        Largest number of evaluations of the loss by 'lbfgs'.

    n_jobs : int or None, default=None
        Threads for training and prediction. None uses all CPUs that the process may use, and one
        inside the workers of joblib; -1 uses all of them, n that many. Small work runs on one
        thread in any case. Results do not depend on it.

    precision : {'auto', 'float32', 'float64', 'bfloat16'}, default='auto'
        Arithmetic of training and prediction, and with it the dtype of weights and results:

        - 'auto', float32 for X of dtype float32, float64 for any other
        - 'float32' or 'float64', for any X
        - 'bfloat16', float32, except that products of matrices take their operands (X, weights,
          activations, error signals) rounded to bfloat16, which has eight significant bits. Sums,
          weights, intercepts, the state of the solver and losses are float32. Meant for large
          networks on CPUs with instructions for such products (AMX, AVX512_BF16); elsewhere
          results are nearly the same, but slower than with 'float32'. 'lbfgs' may end early on so
          coarse a loss.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels in ascending order; the numbers of the labels if a sample may have several.

    loss_ : float
        Loss of the last epoch (mean over its mini-batches, penalty included), or at the end of
        'lbfgs'.

    best_loss_ : float or None
        Smallest entry of `loss_curve_`; None with `early_stopping`. Not there for 'lbfgs'.

    loss_curve_ : list of float
        Loss of every epoch since training from scratch began, warm starts and calls of
        `partial_fit` included, so that it grows without bound. Not there for 'lbfgs'.

    validation_scores_ : list of float or None
        Accuracy of the held-out data after every epoch; None without `early_stopping`. Not there
        for 'lbfgs'.

    best_validation_score_ : float or None
        Largest entry of `validation_scores_`; None without `early_stopping`. Not there for 'lbfgs'.

    t_ : int
        Number of samples that the solver has trained on, counted once per epoch.

    coefs_ : list of ndarray of shape (fan_in, fan_out)
        Weights of each layer, in the dtype of X ('lbfgs': float64), or as `precision` says. They
        may be changed or replaced before `partial_fit`, a warm start or a prediction by float32 or
        float64 arrays of the same shapes.

    intercepts_ : list of ndarray of shape (fan_out,)
        Biases of each layer, likewise.

    n_iter_ : int
        Epochs or iterations of the last call.

    n_layers_ : int
        Number of layers, input and output included.

    n_outputs_ : int
        Units of the output layer.

    out_activation_ : str
        Function applied to the units of the output layer: 'softmax', or 'logistic' for
        two classes or several labels per sample.

    n_features_in_ : int
        Number of features in X.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X had names that are all strings.

    See Also
    --------
    MLPRegressor : The same network for regression.
    sklearn.neural_network.MLPClassifier : The original.

    Notes
    -----
    Weights start as uniform random numbers whose range depends on the widths of the two layers that
    they join [2]_ (see [3]_ for rectified units). Two classes share
    one output with a logistic function, more than two pass through a softmax; labels that may go
    together have a logistic function each, and their log losses are added.

    Everything is computed by a C engine that uses the vector instructions of the CPU at hand and
    several threads. For one `random_state` the fit agrees with that of
    :class:`sklearn.neural_network.MLPClassifier` to rounding. Unlike there, `partial_fit` and
    warm starts may follow a fit with another solver or another `early_stopping`.

    References
    ----------
    .. [1] G. E. Hinton, "Connectionist learning procedures", Artificial Intelligence 40 (1989),
       185-234.
    .. [2] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
       networks", AISTATS 2010.
    .. [3] K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers: surpassing human-level
       performance on ImageNet classification", ICCV 2015, arXiv:1502.01852.
    .. [4] D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015,
       arXiv:1412.6980.
    .. [5] R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, "A limited memory algorithm for bound constrained
       optimization", SIAM Journal on Scientific Computing 16 (1995), 1190-1208.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = make_classification(n_samples=200, random_state=0)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> clf = MLPClassifier(max_iter=500, random_state=0).fit(X_train, y_train)
    >>> clf.predict(X_test[:5])
    array([0, 0, 1, 0, 0])
    >>> clf.predict_proba(X_test[:2]).round(2)
    array([[0.87, 0.13],
           [0.94, 0.06]])
    >>> clf.score(X_test, y_test)
    0.94
    """

    # The name by which scikit-learn's exporters know the loss of a classifier.
    loss = "log_loss"

    _y_options: ClassVar[dict[str, bool]] = {}
    _y_plain_kinds: ClassVar[str] = "biufU"

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: Literal["identity", "logistic", "tanh", "relu"] = "relu",
        *,
        solver: Literal["lbfgs", "sgd", "adam"] = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: Literal["constant", "invscaling", "adaptive"] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int | float = 10,
        max_fun: int = 15000,
        n_jobs: int | None = None,
        precision: Literal["auto", "float32", "float64", "bfloat16"] = "auto",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.n_jobs = n_jobs
        self.precision = precision

    def _encode(self, y: Any, incremental: bool) -> Labels:
        """Turn labels into positions in ``classes_``, which a fit from scratch finds in y."""
        if hasattr(self, "classes_") and (self.warm_start or incremental):
            labels, _ = encode_labels(y, self._label_binarizer, self.classes_, self.warm_start)
        else:
            labels, self._label_binarizer = encode_labels(y)
            self.classes_ = self._label_binarizer.classes_
        return labels

    def _take_classes(self, y: Any, classes: Any) -> None:
        if is_first_partial_fit(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if multilabel else classes)

    def _has_stochastic_solver(self) -> bool:
        if self.solver not in _fit.OPTIMIZERS:
            raise AttributeError(
                "partial_fit is only available for stochastic"
                f" optimizers. {self.solver} is not stochastic."
            )
        return True

    @available_if(_has_stochastic_solver)
    @fit_context
    def partial_fit(
        self,
        X: Matrix,
        y: Matrix,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch on the given data. There is no such method with 'lbfgs'.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data, as for `fit`.

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Class labels, as for `fit`. Not every class need occur.

        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each sample in the loss.

        classes : array-like of shape (n_classes,), default=None
            All classes that will ever occur. Needed in the first call only; later it may be
            left out or repeated.

        Returns
        -------
        self : object
            The estimator, one epoch further.

        Raises
        ------
        ValueError
            If `classes` is missing in the first call or differs from before, if y holds others,
            if `early_stopping` is set, or for the reasons given for `fit`.

        Notes
        -----
        After `fit` the optimizer goes on from where it was: with the running averages of 'adam' or
        the velocity of 'sgd'. They are two thirds of what an estimator holds in memory ('adam'), so
        a pickle of an estimator whose last training call was `fit` leaves them out, and a
        `partial_fit` after loading it starts the optimizer anew. After `partial_fit` a pickle
        holds them.
        """
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    def predict(self, X: Matrix) -> Any:
        """Predict the class of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels, in the dtype of ``classes_``. If a sample may have several: an indicator
            matrix, sparse if the y of `fit` was.
        """
        outputs = self._outputs(X)
        binarizer = self._label_binarizer
        if binarizer.sparse_input_:
            return binarizer.inverse_transform(outputs)
        codes = decode(outputs, binarizer.y_type_, len(binarizer.classes_))
        return binarizer.classes_[codes] if codes.ndim == 1 else codes.astype(np.int64)

    def predict_proba(self, X: Matrix) -> NDArray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y_prob : ndarray of shape (n_samples, n_classes)
            Probabilities in the order of ``classes_``, float32 if both X and the weights are,
            else float64. Rows sum to one, unless a sample may have several labels.
        """
        outputs = self._outputs(X)
        if self.n_outputs_ > 1:
            return outputs
        y_prob = np.empty((len(outputs), 2), outputs.dtype)
        y_prob[:, 1:] = outputs
        np.subtract(1, outputs, out=y_prob[:, :1])
        return y_prob

    def predict_log_proba(self, X: Matrix) -> NDArray:
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        log_y_prob : ndarray of shape (n_samples, n_classes)
            The logarithm of what `predict_proba` returns.
        """
        y_prob = self.predict_proba(X)
        return np.log(y_prob, out=y_prob)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _BaseMLP):
    """Multilayer perceptron regressor.

    A feedforward network [1]_ that minimises the squared error or the Poisson deviance:
    scikit-learn's estimator of the same name, computed faster.

    Parameters
    ----------
    loss : {'squared_error', 'poisson'}, default='squared_error'
        Loss function:

        - 'squared_error', half the squared error
        - 'poisson', half the Poisson deviance. The output passes through an exponential, so
          predictions are positive; y is meant to be non-negative.

    hidden_layer_sizes : int or array-like of shape (n_hidden_layers,), default=(100,)
        Units of each hidden layer, from input to output. An int stands for one hidden layer; an
        empty sequence for none, which makes the model linear.

    activation : {'identity', 'logistic', 'tanh', 'relu'}, default='relu'
        Function applied to the units of all hidden layers:

        - 'identity', f(x) = x
        - 'logistic', the sigmoid f(x) = 1 / (1 + exp(-x))
        - 'tanh', f(x) = tanh(x)
        - 'relu', f(x) = max(0, x)

    solver : {'lbfgs', 'sgd', 'adam'}, default='adam'
        What minimises the loss:

        - 'lbfgs', SciPy's quasi-Newton method with limited memory [5]_. It uses all of X for every
          step and suits small data.
        - 'sgd', gradient descent on mini-batches with momentum
        - 'adam', mini-batch steps scaled for each weight by running averages of the gradient and
          of its square [4]_

    alpha : float, default=0.0001
        Strength of the L2 penalty: the loss of a mini-batch of n samples gains
        ``alpha / (2 n)`` times the sum of all squared weights. Intercepts are not penalised.

    batch_size : int or 'auto', default='auto'
        Samples in a mini-batch; 'auto' is ``min(200, n_samples)``. What is left at the end of an
        epoch makes a smaller one. Not used by 'lbfgs'.

    learning_rate : {'constant', 'invscaling', 'adaptive'}, default='constant'
        How the step size of 'sgd' develops:

        - 'constant', it stays at `learning_rate_init`.
        - 'invscaling', it is ``learning_rate_init / (t_ + 1) ** power_t`` after each epoch.
        - 'adaptive', it is divided by 5 whenever `n_iter_no_change` epochs have brought no progress
          by `tol`; below 1e-6 training stops.

        Not used by 'adam' and 'lbfgs'.

    learning_rate_init : float, default=0.001
        Step size of 'sgd' and 'adam' at the beginning.

    power_t : float, default=0.5
        Exponent of the schedule 'invscaling' of 'sgd'.

    max_iter : int, default=200
        Largest number of epochs ('sgd', 'adam'), or of iterations ('lbfgs').

    shuffle : bool, default=True
        Whether 'sgd' and 'adam' visit the samples in a new random order in every epoch.

    random_state : int, RandomState instance or None, default=None
        Source of the initial weights, the validation split and the order of the samples. The same
        int gives the same fit, bit by bit, for any number of threads. None uses NumPy's global
        generator.

    tol : float, default=1e-4
        Least improvement of the loss, or of the validation score with `early_stopping`, that counts
        as progress. For 'lbfgs' the largest entry of the projected gradient at which it stops.

    verbose : bool or int, default=False
        Whether to print loss and validation score of each epoch.

    warm_start : bool, default=False
        Whether `fit` starts from the weights of the previous call instead of new random ones.
        Loss curve and counters are continued, the averages kept by 'sgd' and 'adam' start anew.

    momentum : float, default=0.9
        Share of the previous step that 'sgd' adds to the next, from 0 to 1.

    nesterovs_momentum : bool, default=True
        Whether 'sgd' uses momentum in Nesterov's form.

    early_stopping : bool, default=False
        Whether to hold out `validation_fraction` of the data, stop when the R^2 score on it makes
        no progress, and keep the weights that scored best. Not used by 'lbfgs', not allowed in
        `partial_fit`.

    validation_fraction : float, default=0.1
        Share of the data that `early_stopping` holds out, at least 0 and below 1.

    beta_1 : float, default=0.9
        Decay of adam's average of gradients, at least 0 and below 1.

    beta_2 : float, default=0.999
        Decay of adam's average of squared gradients, at least 0 and below 1.

    epsilon : float, default=1e-8
        Added to the denominator of adam's step, as no less than the smallest normal number of the
        arithmetic (1.2e-38 in float32).

    n_iter_no_change : int or inf, default=10
        Epochs in a row without progress that are tolerated. Not used by 'lbfgs'.

    max_fun : int, default=15000
        Largest number of evaluations of the loss by 'lbfgs'.

    n_jobs : int or None, default=None
        Threads for training and prediction. None uses all CPUs that the process may use, and one
        inside the workers of joblib; -1 uses all of them, n that many. Small work runs on one
        thread in any case. Results do not depend on it.

    precision : {'auto', 'float32', 'float64', 'bfloat16'}, default='auto'
        Arithmetic of training and prediction, and with it the dtype of weights and results:

        - 'auto', float32 for X of dtype float32, float64 for any other
        - 'float32' or 'float64', for any X
        - 'bfloat16', float32, except that products of matrices take their operands (X, weights,
          activations, error signals) rounded to bfloat16, which has eight significant bits. Sums,
          weights, intercepts, the state of the solver and losses are float32. Meant for large
          networks on CPUs with instructions for such products (AMX, AVX512_BF16); elsewhere
          results are nearly the same, but slower than with 'float32'. 'lbfgs' may end early on so
          coarse a loss.

    Attributes
    ----------
    loss_ : float
        Loss of the last epoch (mean over its mini-batches, penalty included), or at the end of
        'lbfgs'.

    best_loss_ : float or None
        Smallest entry of `loss_curve_`; None with `early_stopping`. Not there for 'lbfgs'.

    loss_curve_ : list of float
        Loss of every epoch since training from scratch began, warm starts and calls of
        `partial_fit` included, so that it grows without bound. Not there for 'lbfgs'.

    validation_scores_ : list of float or None
        R^2 score of the held-out data after every epoch; None without `early_stopping`. Not there
        for 'lbfgs'.

    best_validation_score_ : float or None
        Largest entry of `validation_scores_`; None without `early_stopping`. Not there for 'lbfgs'.

    t_ : int
        Number of samples that the solver has trained on, counted once per epoch.

    coefs_ : list of ndarray of shape (fan_in, fan_out)
        Weights of each layer, in the dtype of X ('lbfgs': float64), or as `precision` says. They
        may be changed or replaced before `partial_fit`, a warm start or a prediction by float32 or
        float64 arrays of the same shapes.

    intercepts_ : list of ndarray of shape (fan_out,)
        Biases of each layer, likewise.

    n_iter_ : int
        Epochs or iterations of the last call.

    n_layers_ : int
        Number of layers, input and output included.

    n_outputs_ : int
        Units of the output layer.

    out_activation_ : str
        Function applied to the units of the output layer: 'identity', or 'exp' for
        ``loss='poisson'``.

    n_features_in_ : int
        Number of features in X.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X had names that are all strings.

    See Also
    --------
    MLPClassifier : The same network for classification.
    sklearn.neural_network.MLPRegressor : The original.

    Notes
    -----
    Weights start as uniform random numbers whose range depends on the widths of the two layers that
    they join [2]_ (see [3]_ for rectified units). With several
    outputs the squared error that is reported is the mean over them, the one that is minimised
    their sum; Poisson deviances are added in both.

    Everything is computed by a C engine that uses the vector instructions of the CPU at hand and
    several threads. For one `random_state` the fit agrees with that of
    :class:`sklearn.neural_network.MLPRegressor` to rounding. Unlike there, `partial_fit` and
    warm starts may follow a fit with another solver or another `early_stopping`.

    References
    ----------
    .. [1] G. E. Hinton, "Connectionist learning procedures", Artificial Intelligence 40 (1989),
       185-234.
    .. [2] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
       networks", AISTATS 2010.
    .. [3] K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers: surpassing human-level
       performance on ImageNet classification", ICCV 2015, arXiv:1502.01852.
    .. [4] D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015,
       arXiv:1412.6980.
    .. [5] R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, "A limited memory algorithm for bound constrained
       optimization", SIAM Journal on Scientific Computing 16 (1995), 1190-1208.

    Examples
    --------
    >>> from fastmlp import MLPRegressor
    >>> from sklearn.datasets import make_regression
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = make_regression(n_samples=200, n_features=5, noise=1.0, random_state=0)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> reg = MLPRegressor(solver="lbfgs", tol=1e-2, random_state=0).fit(X_train, y_train)
    >>> reg.predict(X_test[:2]).round()
    array([  -4., -247.])
    >>> reg.score(X_test, y_test) > 0.99
    True
    """

    _parameter_constraints: ClassVar[dict[str, list]] = _BaseMLP._parameter_constraints | {
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    _y_options: ClassVar[dict[str, bool]] = {"y_numeric": True}
    _y_plain_kinds: ClassVar[str] = "biuf"

    def __init__(
        self,
        loss: Literal["squared_error", "poisson"] = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: Literal["identity", "logistic", "tanh", "relu"] = "relu",
        *,
        solver: Literal["lbfgs", "sgd", "adam"] = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: Literal["constant", "invscaling", "adaptive"] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int | float = 10,
        max_fun: int = 15000,
        n_jobs: int | None = None,
        precision: Literal["auto", "float32", "float64", "bfloat16"] = "auto",
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.n_jobs = n_jobs
        self.precision = precision

    def _encode(self, y: Any, incremental: bool) -> Values:
        return Values(y, self.loss)

    @fit_context
    def partial_fit(self, X: Matrix, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train for one epoch on the given data.

        With 'lbfgs', which knows no epochs, as many iterations as `fit` would make, from the
        weights at hand.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data, as for `fit`.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target values.

        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each sample in the loss.

        Returns
        -------
        self : object
            The estimator, one epoch further.

        Raises
        ------
        ValueError
            If `early_stopping` is set, or for the reasons given for `fit`.

        Notes
        -----
        After `fit` the optimizer goes on from where it was: with the running averages of 'adam' or
        the velocity of 'sgd'. They are two thirds of what an estimator holds in memory ('adam'), so
        a pickle of an estimator whose last training call was `fit` leaves them out, and a
        `partial_fit` after loading it starts the optimizer anew. After `partial_fit` a pickle
        holds them.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Matrix) -> NDArray:
        """Predict the target of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions, float32 if both X and the weights are, else float64.
        """
        outputs = self._outputs(X)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs
