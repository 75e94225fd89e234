"""What both estimators share: validation, fit, outputs.

Here a user's arguments become what ``_training`` and ``_core`` take, with scikit-learn's random
stream, warnings and errors. Whatever is out of the ordinary is left to scikit-learn's own
validation; arrays that plainly need none do not pay for it.
"""

import copy
import functools
import inspect
import logging
import operator
import os
import warnings
from collections.abc import Callable, Iterable
from itertools import compress
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse, sparray, spmatrix
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils import Tags, column_or_1d
from sklearn.utils.validation import check_is_fitted, validate_data

from . import __version__, _convert, _core, _files, _network, _structure, _summary
from ._batches import Passes
from ._checkpoint import BatchKeeper, Keeper
from ._families import Choice
from ._parameters import FAMILIES, named
from ._sklearn import CallbackSupportMixin, check_sample_weight, fit_context
from ._threads import effective_n_threads
from ._training import (
    Evaluation,
    Labels,
    LBFGSFit,
    Problem,
    Session,
    State,
    StochasticFit,
    Tasks,
    Values,
    random_stream,
)
from .callbacks import Callback, Checkpoint
from .optimizers import is_stochastic

_log = logging.getLogger(__package__)

Matrix = ArrayLike | sparray | spmatrix
Data = tuple[Any, Any, Any]  # X, y, sample_weight as given

# Numbers of X that are looked at together, while they are in a cache.
_PIECE = 2**16

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)

# What differs from the defaults, as scikit-learn has found it valid. Its check takes 0.2 ms.
_valid_parameters: set[tuple] = set()


@functools.cache
def _constructor(cls: type) -> tuple[tuple[str, ...], Callable[[Any], tuple], tuple]:
    """Return the names of a class's parameters, what reads their values, and their defaults."""
    names, signature = tuple(cls._parameter_constraints), inspect.signature(cls).parameters
    defaults = [getattr(signature.get(name), "default", inspect.Parameter.empty) for name in names]
    return names, operator.attrgetter(*names), tuple(defaults)


def _form(value: Any) -> Any:
    """Return what tells a valid value of a parameter from another, None if only a check does."""
    kind = type(value)
    if kind in (int, float, str, bool, type(None)):
        return kind, value
    if kind is tuple and all(type(item) is int for item in value):
        return kind, value
    is_always_valid = kind is list or kind is np.random.RandomState or issubclass(kind, Choice)
    return kind if is_always_valid else None


def _is_plain(X: Any) -> bool:
    """Whether X is an array that the engine takes as it is, finite numbers granted."""
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.size > 0
        and (X.dtype == _FLOAT64 or X.dtype == _FLOAT32)
    )


def _in_memory(array: Any) -> Any:
    """Return a mapped file as a plain array of the same memory, anything else as it is."""
    return array.view(np.ndarray) if type(array) is np.memmap else array


def _fits_float32(X: NDArray) -> bool:
    """Whether no number of X is too large for float32. A file is read once."""
    if X.dtype == _FLOAT32:
        return True
    limit, step = np.finfo(np.float32).max, max(1, _PIECE // X.shape[1])
    pieces = (X[i : i + step] for i in range(0, len(X), step))
    return all(-limit <= piece.min() and piece.max() <= limit for piece in pieces)


def _to_csr(X: Any) -> Any:
    """Turn the sparse matrices that validation lets pass (CSR, CSC) into CSR."""
    return X.tocsr() if issparse(X) else X


class BaseMLP(CallbackSupportMixin, BaseEstimator):
    """What both estimators share."""

    if TYPE_CHECKING:  # scikit-learn's methods, which have no annotations

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...

    # Differences between the two in how y is validated: options for scikit-learn, and the kinds
    # of NumPy dtypes that need no conversion.
    _y_options: ClassVar[dict[str, bool]]
    _y_plain_kinds: ClassVar[str]
    # Name of the score that scoring=None stands for.
    _default_score: str
    # Name of scikit-learn's estimator, that of subclasses as well.
    _original_name: ClassVar[str]

    # ---------------------------------------------------------------------------- validation

    def _validate_params(self) -> None:
        """Check the constructor's parameters, those seen before at a glance."""
        names, read, defaults = _constructor(type(self))
        values = read(self)
        changed = compress(zip(names, values, strict=True), map(operator.is_not, values, defaults))
        forms = [(name, _form(value)) for name, value in changed]
        known = all(form is not None for _, form in forms)
        key = (type(self), *forms)
        if not known or key not in _valid_parameters:
            super()._validate_params()
            if known and len(_valid_parameters) < 10_000:
                _valid_parameters.add(key)

    def _knows_width(self, X: NDArray) -> bool:
        """Whether X has as many features as in fit, and there are no names to compare."""
        fitted = self.__dict__
        return "feature_names_in_" not in fitted and fitted.get("n_features_in_") == X.shape[1]

    def _validate_data(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Return X and y as arrays (X may be a CSR matrix), features counted and named."""
        X, y = _in_memory(X), _in_memory(y)
        to_float32 = _network.asked_dtype(self) == _FLOAT32
        # The engine turns each mini-batch into its dtype; all else is turned at once.
        stays = _is_plain(X) and (not to_float32 or _fits_float32(X))
        if (
            stays
            and type(y) is np.ndarray
            and y.ndim == 1
            and len(y) == len(X)
            and y.dtype.kind in self._y_plain_kinds
            and (reset or self._knows_width(X))
            and (get_config()["assume_finite"] or _core.all_finite(X, y))
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
            dtype=np.float32 if to_float32 and not stays else (np.float64, np.float32),
            reset=reset,
            **self._y_options,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return _to_csr(X), y

    # ---------------------------------------------------------------------------- parameters

    def set_params(self, **params: Any) -> Self:
        """Set parameters.

        Parameters
        ----------
        **params : dict
            Values by name. ``loss__delta=2.0`` sets `delta` of the object that `loss` is, or stands
            for if it is a name.

        Returns
        -------
        self : object
            The estimator.
        """
        nested = []
        for key in list(params):
            name, separator, own = key.partition("__")
            if separator and name in FAMILIES and name in self._parameter_constraints:
                nested.append((name, own, params.pop(key)))
        super().set_params(**params)
        for name, own, value in nested:
            member = named(self, name)
            if not isinstance(member, Choice):
                raise ValueError(f"Invalid parameter {own!r} for {name}={member!r}, no single one.")
            setattr(self, name, member.with_params(**{own: value}))
        return self

    # ----------------------------------------------------------------------------------- fit

    @fit_context
    def fit(
        self,
        X: Matrix,
        y: Matrix,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Matrix | None = None,
        y_val: Matrix | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Fit the network to the training data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data. float32 is computed in float32, anything else in float64, unless
            `precision` says otherwise. CSR matrices stay sparse, other sparse formats become CSR.
            An array of floats in a mapped file, ``np.load(path, mmap_mode="r")``, stays there.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, an indicator matrix of several labels per sample (dense or sparse), or
            the numbers to regress on.

        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each sample in the loss. None stands for equal weights.

        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Validation data of your own. They are evaluated after every epoch, or iteration of
            'lbfgs': `validation_scores_`, `validation_loss_curve_`. With `early_stopping` they
            take the place of the split, and 'lbfgs' stops early as well; without, nothing else
            depends on them. In a :class:`~sklearn.pipeline.Pipeline` they are transformed with
            ``transform_input=["X_val"]``.

        y_val : array-like of shape (n_val,) or (n_val, n_outputs), default=None
            Targets of the validation data, like y: a classifier takes the same labels.

        sample_weight_val : array-like of shape (n_val,), default=None
            Weights of the validation data.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter is out of its range, if the data are not finite (where the arithmetic is
            float32, as float32), do not fit together or not to those of the fit that is continued
            (``warm_start``), or if the weights have grown beyond all bounds.
        ZeroDivisionError
            If the sample weights of a mini-batch sum to zero.

        Warns
        -----
        RuntimeWarning
            If the data are so large that the state of the solver, or the loss of 'lbfgs', has
            overflowed: some weights then no longer change.
        ConvergenceWarning
            If training has ended at `max_iter`.

        Notes
        -----
        Ctrl-C ends training by ``sgd`` or ``adam`` with a warning and leaves a usable estimator;
        ``lbfgs`` passes the ``KeyboardInterrupt`` on, after it has kept the current weights. Any
        other failure leaves the estimator as it was before the call, except that a warm start
        that fails during training has changed the weights.
        """
        return self._fit((X, y, sample_weight), (X_val, y_val, sample_weight_val))

    @fit_context
    def fit_batches(
        self,
        batches: Iterable[Any] | Callable[[], Iterable[Any]],
        *,
        classes: ArrayLike | None = None,
        epochs: int = 1,
        X_val: Matrix | None = None,
        y_val: Matrix | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train on data that come in batches, of a file larger than memory for instance.

        This is `partial_fit` with each batch in turn, in as many passes as there are epochs, to the
        same bits: it goes on with a fitted estimator, mini-batches of `batch_size` samples are
        drawn from one batch, and schedules count each batch as an epoch.

        Parameters
        ----------
        batches : iterable or callable
            What yields ``(X, y)`` or ``(X, y, sample_weight)``, each as for `partial_fit`; see
            :class:`fastmlp.batches.ArrowBatches` for Parquet files. A generator serves one epoch;
            for several pass a list, an object that can be iterated over again, or a callable that
            returns a fresh iterator.

        classes : array-like of shape (n_classes,), default=None
            All classes that will ever occur, for a classifier. Needed in the first call only.

        epochs : int, default=1
            Number of passes.

        X_val, y_val, sample_weight_val : array-like, default=None
            Validation data, as for `fit`, evaluated after each batch.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        TypeError
            If `batches` is neither an iterable nor a callable.
        ValueError
            If there is no batch, if `batches` is an iterator but `epochs` is not 1, if a classifier
            lacks `classes` in the first call, if the solver is 'lbfgs', or for the reasons given
            for `partial_fit`. Errors name the batch; those before it have been trained on.

        Notes
        -----
        Training ends early at Ctrl-C, with a warning, at `time_limit`, which counts for the whole
        call and is looked at after each batch, at `target_loss` or `target_score`, by a callback,
        and with `early_stopping`, which needs validation data. ``stop_reason_`` says which.

        With a :class:`~fastmlp.callbacks.Checkpoint` an equal call goes on from the last batch that
        was saved, to the bits of an uninterrupted one. ``verbose=2`` shows a progress bar.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import MLPClassifier
        >>> def batches():
        ...     for seed in range(20):
        ...         X = np.random.default_rng(seed).normal(size=(500, 2))
        ...         yield X, X[:, 0] > X[:, 1]
        >>> clf = MLPClassifier(random_state=0)
        >>> clf.fit_batches(batches, classes=[False, True], epochs=3).predict([[1.0, 0.0]])
        array([ True])
        """
        return self._fit_batches(batches, epochs, classes, (X_val, y_val, sample_weight_val))

    def _fit(
        self, train: Data, validation: Data, *, incremental: bool = False, classes: Any = None
    ) -> Self:
        tasks = None
        if "_skl_callbacks" in self.__dict__:
            tasks = self._tasks(train, 1 if incremental else self._max_epochs())
        state, keepers = self._train(train, validation, tasks, incremental, classes)
        for keeper in keepers:
            keeper.end(state)
        if tasks is not None:
            tasks.end()
        return self

    def _train(
        self,
        train: Data,
        validation: Data,
        tasks: Tasks | None,
        incremental: bool = False,
        classes: Any = None,
        passes: Passes | None = None,
    ) -> tuple[State, list[Keeper]]:
        """Run a fit, perhaps one of many; return its state and what has saved it."""
        fresh = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        before = self.__dict__.copy()
        fit = None
        try:
            with random_stream(self.random_state) as rng:
                fit = self._prepare(train, validation, rng, fresh, incremental, classes)
                _log.info("%s: accelerated", type(self).__name__)
                fit.bar = None if passes is None else passes.bar
                keepers = []
                if tasks is not None:
                    keepers = self._attach(fit, tasks, saves=passes is None)
                fit.run()
            if not incremental and hasattr(self, "_session"):
                self._session.finish()
            if not _core.all_finite(*fit.state.coefs, *fit.state.intercepts):
                message = (
                    "Solver produced non-finite parameter weights. The input data may"
                    " contain large values and need to be preprocessed."
                )
                if fit.dtype == _FLOAT32:
                    message += f" In float32, {fit.problem.how_to_scale(fit.dtype)}"
                raise ValueError(message)
        except BaseException as error:
            # A fit that was continued has changed weights in place, and an interrupted one is
            # meant to be used. Any other has left no trace but in attributes.
            published = fit is not None and fit.state.published
            if not published or (fresh and isinstance(error, Exception)):
                self.__dict__.clear()
                self.__dict__.update(before)
            raise
        return fit.state, keepers

    def _fit_batches(self, batches: Any, epochs: int, classes: Any, validation: Data) -> Self:
        """Train on each batch as ``partial_fit`` does, in as many passes as there are epochs."""
        if not is_stochastic(self.solver):
            raise ValueError(f"fit_batches needs a stochastic solver, got solver={self.solver!r}.")
        self._check_first_classes(classes)
        passes, tasks, keepers = Passes(self, batches, epochs), None, []
        if "_skl_callbacks" in self.__dict__:
            keepers = [BatchKeeper(self, own, classes) for own in self._checkpoints()]
            passes.skip(max((keeper.resume() for keeper in keepers), default=0))
            tasks = self._tasks((None, None, None), None)
        for train in passes:
            if tasks is not None:
                tasks.show(train)
            with passes.named_errors():
                self._train(train, validation, tasks, True, classes, passes)
            if passes.has_ended():
                break
            for keeper in keepers:
                keeper.save(passes.n_batches)
        for keeper in keepers:
            keeper.end(self.stop_reason_)
        if tasks is not None:
            tasks.end()
        return self

    def _checkpoints(self) -> list[Checkpoint]:
        return [callback for callback in self._skl_callbacks if isinstance(callback, Checkpoint)]

    def _attach(self, fit: StochasticFit | LBFGSFit, tasks: Tasks, *, saves: bool) -> list[Keeper]:
        """Attach the user's callbacks to a fit, which may go on from a checkpoint then."""
        own = [callback for callback in self._skl_callbacks if isinstance(callback, Callback)]
        keepers = [Keeper(fit, checkpoint) for checkpoint in self._checkpoints() if saves]
        for keeper in keepers:
            keeper.resume()
        others = [callback for callback in own if not isinstance(callback, Checkpoint)]
        fit.show(tasks, [*others, *keepers])
        return keepers

    def _max_epochs(self) -> int:
        # SciPy does not say before an iteration whether there will be one.
        return self.max_iter if is_stochastic(self.solver) else self.max_iter + 1

    def _tasks(self, train: Data, n_epochs: int | None) -> Tasks:
        """Begin to tell scikit-learn's callbacks of a fit of so many epochs; None: not known."""
        context = self._init_callback_context(max_subtasks=n_epochs)
        return Tasks(self, context, train)

    def _prepare(
        self,
        train: Data,
        validation: Data,
        rng: np.random.RandomState,
        fresh: bool,
        incremental: bool,
        classes: Any,
    ) -> StochasticFit | LBFGSFit:
        """Do all that may refuse the arguments, and return the fit ready to run."""
        X, y, sample_weight = train
        if incremental:
            self._take_classes(y, classes)
        hidden = _network.hidden_widths(self.hidden_layer_sizes)
        structure = _network.structure(self, len(hidden))
        X, y = self._validate_data(X, y, reset=fresh)
        targets = self._encode(y, incremental)
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, X)
        if fresh:
            widths = (X.shape[1], *hidden, targets.n_outputs)
            state = self._initial_state(X, targets, widths, structure, rng)
        else:
            widths = self._known_widths(X.shape[1], len(hidden), targets.n_outputs)
            self._check_continuation(targets, widths, structure)
            state = State.of(self)
        state.layout = widths, structure
        self.n_outputs_ = targets.n_outputs
        problem = self._problem(X, targets, sample_weight, widths, structure)
        own = self._validation_problem(problem, *validation)
        kind = StochasticFit if is_stochastic(self.solver) else LBFGSFit
        return kind(self, problem, state, rng, incremental, own)

    def _initial_state(
        self,
        X: Any,
        targets: Labels | Values,
        widths: tuple[int, ...],
        structure: dict[str, Any],
        rng: np.random.RandomState,
    ) -> State:
        """Return the state of a network that has not been trained."""
        self.out_activation_ = targets.out_activation
        self.n_layers_ = len(widths)
        dtype = _network.net_dtype(self, X)
        activations, init = _network.initial_activations(self), named(self, "init")
        return State(*_network.initial(widths, dtype, init, activations, rng, structure))

    def _problem(
        self,
        X: Any,
        targets: Labels | Values,
        sample_weight: NDArray | None,
        widths: tuple[int, ...],
        structure: dict[str, Any],
    ) -> Problem:
        return Problem(
            X,
            targets,
            sample_weight,
            widths,
            _network.activations(self),
            _network.in_bfloat16(self),
            effective_n_threads(self.n_jobs),
            structure,
        )

    def _validation_problem(
        self, problem: Problem, X: Any, y: Any, sample_weight: Any
    ) -> Problem | None:
        """Return the user's own validation data, checked, as a problem of the same network."""
        if X is None and y is None and sample_weight is None:
            return None
        given = {"X_val": X, "y_val": y, "sample_weight_val": sample_weight}
        missing = [name for name, value in given.items() if value is None]
        if X is None or y is None:
            names = " and ".join(name for name in given if name not in missing)
            raise ValueError(f"{names} given without {missing[0]}.")
        try:
            X, y = self._validate_data(X, y, reset=False)
            targets = self._encode_known(y)
            if sample_weight is not None:
                sample_weight = check_sample_weight(sample_weight, X)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"Validation data ({', '.join(given)}): {error}") from error
        return problem._replace(X=X, targets=targets, sample_weight=sample_weight)

    def _known_widths(self, n_features: int, n_hidden: int, n_outputs: int) -> tuple[int, ...]:
        """Return the widths of the layers of the network that is to be trained on."""
        if n_hidden != self.n_layers_ - 2:
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes} asks for {n_hidden} hidden layers, "
                f"but the network that is to be trained on has {self.n_layers_ - 2}."
            )
        coefs, _ = _network.parameters(self, n_features)
        if n_outputs != self.n_outputs_:
            raise ValueError(
                f"y has {n_outputs} outputs, but the network that is to be trained on has "
                f"{self.n_outputs_}."
            )
        return (n_features, *(W.shape[1] for W in coefs))

    def _check_continuation(
        self, targets: Labels | Values, widths: tuple[int, ...], structure: dict[str, Any]
    ) -> None:
        """Refuse to go on with other outputs or another structure than the fitted network has."""
        if targets.out_activation != self.out_activation_:
            raise ValueError(
                f"loss={self.loss!r} and out_activation={self.out_activation!r} ask for "
                f"{targets.out_activation!r} outputs, but the network that is to be trained on "
                f"has {self.out_activation_!r} ones."
            )
        fitted = _structure.fitted(vars(self))
        if _structure.of_inference(structure) != fitted:
            raise ValueError(
                f"normalization={self.normalization!r} and residual={self.residual!r}, but the "
                f"network that is to be trained on has {fitted or 'neither'}."
            )
        _structure.check(vars(self), widths)

    def _encode(self, y: Any, incremental: bool) -> Labels | Values:
        """Return what y means to the network."""
        raise NotImplementedError

    def _encode_known(self, y: Any) -> Labels | Values:
        """Return what another y means to the network that was trained on one."""
        raise NotImplementedError

    def _take_classes(self, y: Any, classes: Any) -> None:
        """Hook of the classifier: look at the classes given to ``partial_fit``."""

    def _check_first_classes(self, classes: Any) -> None:
        """Refuse classes where there are none; hook of the classifier, which needs them."""
        if classes is not None:
            raise ValueError(f"classes is for classifiers, this is {type(self).__name__}.")

    @property
    def best_iteration_(self) -> int:
        """Position of the best validation score in `validation_scores_`, counted from 1."""
        scores = self.__dict__.get("validation_scores_")
        if scores is None:
            raise AttributeError("best_iteration_ is there after a fit with validation data only.")
        best = self.best_validation_score_
        return 1 + scores.index(best) if best in scores else 0

    # ------------------------------------------------------------------------------- predict

    def _outputs(self, X: Any, part: Callable[..., tuple] | None = None) -> NDArray[Any]:
        """Return the output layer's activations, of shape (n_samples, n_outputs).

        Their dtype is the one that ``precision`` names, else that of NumPy's products of X and the
        weights. A part turns weights, biases and activations into those of another network.
        """
        fitted = self.__dict__
        if "coefs_" not in fitted:
            check_is_fitted(self, "coefs_")
        asked = _network.asked_dtype(self)
        if type(X) is np.memmap:
            X = X.view(np.ndarray)
        if type(X) is np.ndarray and "feature_names_in_" not in fitted:
            try:
                network = _structure.network(fitted)
                dtype = network[0][0].dtype
                fits = X.dtype == _FLOAT32 or dtype == _FLOAT64 if asked is None else dtype == asked
                if fits and len(X) and X.shape[1] == fitted["n_features_in_"]:
                    outputs = self._outputs_of(network, X, part, check_finite=True)
                    if outputs is not None:
                        return outputs
            except (AttributeError, LookupError, TypeError, ValueError):
                pass  # told below, and better
        options = {"dtype": np.float32} if asked == _FLOAT32 else {}
        X = _to_csr(validate_data(self, X, accept_sparse=["csr", "csc"], reset=False, **options))
        coefs, intercepts = self._parameters_for(X)
        if X.dtype != _FLOAT32:
            X = X.astype(coefs[0].dtype, copy=False)
        return self._outputs_of((coefs, intercepts, _structure.fitted(fitted)), X, part)

    def _outputs_of(
        self, network: tuple, X: Any, part: Callable | None, *, check_finite: bool = False
    ) -> NDArray | None:
        """Return the outputs of a network of ``_structure``, None if X is not finite."""
        coefs, intercepts, structure = network
        layers = _network.activations(self)
        if part is not None:
            coefs, intercepts, layers, structure = part(coefs, intercepts, layers, structure)
        return _core.predict(
            X,
            coefs,
            intercepts,
            layers,
            bfloat16=_network.in_bfloat16(self),
            n_threads=effective_n_threads(self.n_jobs),
            check_finite=check_finite,
            normalization=structure.get("normalization", ()),  # ** would take 0.3 us of 4
            residual=structure.get("residual", False),
        )

    def _parameters_for(self, X: Any) -> tuple[list[NDArray], list[NDArray]]:
        """Return coefs and intercepts of ``_structure``, checked, in the dtype of results for X."""
        coefs, intercepts = _network.parameters(self, X.shape[1])
        _structure.check(vars(self), (X.shape[1], *(W.shape[1] for W in coefs)))
        coefs, intercepts = _structure.joined(vars(self), coefs, intercepts)
        dtype = _network.asked_dtype(self) or np.result_type(X.dtype, *coefs, *intercepts)
        if dtype != _FLOAT32:
            dtype = _FLOAT64  # wider ones and integers
        return (
            [np.require(W, dtype, "CA") for W in coefs],
            [np.require(b, dtype, "CA") for b in intercepts],
        )

    def raw_predict(self, X: Matrix) -> NDArray[Any]:
        """Return the outputs before the activation of the output layer.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        raw : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The linear part ``A W + b`` of the output layer, float32 if both X and the weights are,
            else float64: logits of a classifier, the logarithm of the prediction for the loss
            'poisson'.
        """
        raw = self._outputs(X, _network.up_to_output)
        return raw.ravel() if raw.shape[1] == 1 else raw

    def hidden_activations(self, X: Matrix, layer: int = -1) -> NDArray[Any]:
        """Return the activations of a hidden layer, features that the network has learned.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        layer : int, default=-1
            Position among the hidden layers, from 0; negative ones count from the last.

        Returns
        -------
        activations : ndarray of shape (n_samples, n_units)
            float32 if both X and the weights are, else float64.

        Raises
        ------
        ValueError
            If there is no such layer.
        """
        check_is_fitted(self, "coefs_")
        n_hidden = self.n_layers_ - 2
        if not -n_hidden <= operator.index(layer) < n_hidden:
            layers = "hidden layer" if n_hidden == 1 else "hidden layers"
            raise ValueError(f"layer={layer}, but the network has {n_hidden} {layers}.")
        return self._outputs(X, _network.up_to_hidden(layer % n_hidden))

    def evaluate(
        self, X: Matrix, y: Matrix, sample_weight: ArrayLike | None = None
    ) -> dict[str, float]:
        """Return loss and score on the given data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets, as for `fit`.

        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each sample.

        Returns
        -------
        result : dict of str to float
            ``"loss"``, the mean without regularisation; and ``"accuracy"`` of a classifier,
            ``"r2"`` of a regressor (``"d2_pinball"`` of several levels of quantiles), or with
            `scoring` other than 'loss' what that says, by its name or, if it is a callable, as
            ``"score"``.
        """
        check_is_fitted(self, "coefs_")
        X, y = self._validate_data(X, y, reset=False)
        targets = self._encode_known(y)
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, X)
        coefs, intercepts = self._parameters_for(X)
        widths = (X.shape[1], *(W.shape[1] for W in coefs[: self.n_layers_ - 1]))
        structure = _structure.fitted(vars(self))
        problem = self._problem(X, targets, sample_weight, widths, structure)
        state = State.of(self)
        state.layout = widths, structure
        scoring = None if self.scoring == "loss" else self.scoring
        name = self._default_score if scoring is None else scoring
        evaluation = Evaluation(
            self, problem, state, coefs[0].dtype, scoring=scoring, with_loss=True
        )
        score, loss = evaluation(coefs, intercepts)
        return {"loss": loss, name if isinstance(name, str) else "score": score}

    # --------------------------------------------------------------------------------- files

    def save_model(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to a file that :func:`fastmlp.load_model` reads.

        The file is in the safetensors format: weights and other arrays as tensors, class,
        parameters and structure as JSON in its header, a SHA-256 of everything at its end. It holds
        what a pickle holds, the optimizer's state if the last training call was `partial_fit`
        and metadata routing included, but neither callbacks nor other code: files of unknown origin
        may be loaded, and programs in other languages can read them.

        Parameters
        ----------
        path : str or path-like
            Name of the file. A file of that name is replaced when the new one is complete.

        Raises
        ------
        ValueError
            If a parameter or an attribute is neither a number, a string, an array nor an object of
            fastmlp, such as a function or a RandomState instance, or if this is a subclass.
        """
        _files.save(self, path)

    def summary(self) -> str:
        """Return the network as a table in text.

        Returns
        -------
        table : str
            A line for each layer: its width, activation, normalisation and residual connection, and
            the number of its parameters, running averages of batch normalisation included.

        Examples
        --------
        >>> from fastmlp import MLPRegressor
        >>> reg = MLPRegressor(hidden_layer_sizes=(20, 10), solver="lbfgs")
        >>> print(reg.fit([[0.0, 1.0], [2.0, 3.0]], [4.0, 5.0]).summary())
        MLPRegressor: 2 features, 1 output
        <BLANKLINE>
        layer   units  activation  besides             parameters
        ---------------------------------------------------------
        input       2
        hidden     20  relu                                    60
        hidden     10  relu                                   210
        output      1  identity                                11
        ---------------------------------------------------------
        total                      2.25 KB of float64         281
        """
        return _summary.summary(self)

    # --------------------------------------------------------------------------- conversion

    def to_sklearn(self) -> Any:
        """Return scikit-learn's estimator of the same name with the same fitted network.

        Its predictions are equal to rounding, and its fitted attributes are copies. As after
        loading a pickle, its `partial_fit` starts the optimizer anew.

        Returns
        -------
        estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
            The estimator, for programs that have no fastmlp.

        Raises
        ------
        ValueError
            If scikit-learn has no such network: other activations than 'identity', 'logistic',
            'tanh' and 'relu', or several of them, the output 'softplus', normalised or residual
            layers, several levels of quantiles, ``precision="bfloat16"``.

        Warns
        -----
        UserWarning
            If parameters that scikit-learn does not have, or not with such values, are left out
            because only training depends on them.

        Examples
        --------
        >>> from fastmlp import MLPRegressor
        >>> reg = MLPRegressor(solver="lbfgs", random_state=0).fit([[0.0], [1.0], [2.0]], [1, 3, 5])
        >>> type(reg.to_sklearn()).__module__.split(".")[0]
        'sklearn'
        """
        return _convert.to_sklearn(self, self._original_name)

    @classmethod
    def from_sklearn(cls, estimator: Any) -> Self:
        """Return an estimator with the parameters and the fitted network of scikit-learn's.

        Predictions are equal to rounding, fitted attributes are copies. `partial_fit` starts the
        optimizer anew, a warm start goes on as it would in scikit-learn.

        Parameters
        ----------
        estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
            A fitted estimator of the same name, not of a subclass.

        Returns
        -------
        estimator : MLPClassifier or MLPRegressor
            The estimator.

        Raises
        ------
        TypeError
            If it is none of scikit-learn's of this name.
        sklearn.exceptions.NotFittedError
            If it is not fitted.
        """
        return _convert.from_sklearn(cls, cls._original_name, estimator)

    # ------------------------------------------------------------------- scikit-learn's hooks

    # BaseEstimator notes and compares versions for scikit-learn's own estimators only.

    def __getstate__(self) -> dict[str, Any]:
        """Return arrays, builtins and public classes: nothing of the engine, and no net."""
        state = super().__getstate__() | {"_fastmlp_version": __version__}
        session = state.pop("_session", None)
        if session is not None and not session.finished:
            state["_session"] = session.stored()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if "_session" in state:
            state["_session"] = Session.restored(state["_session"])
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

    # Copies in memory keep what a pickle leaves out: the optimizer's state after `fit`, with which
    # `partial_fit` goes on.

    def __copy__(self) -> Self:
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        other = type(self).__new__(type(self))
        memo[id(self)] = other
        other.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return other

    # scikit-learn's name for the optimizer's state is private, but its learning rates are what
    # people change between calls of `partial_fit`.

    @property
    def _optimizer(self) -> Any:
        try:
            return self.__dict__["_session"].optimizer
        except KeyError:
            raise AttributeError("there is no optimizer before the first fit by one") from None

    @_optimizer.deleter
    def _optimizer(self) -> None:
        del self._session

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
