"""The engine's network and the state of its optimizer, from one call to the next."""

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._network import count, views
from ..optimizers import SGD, Adam, Optimizer
from ..schedules import CONSTANT, Schedule

# Coefs and intercepts.
Weights = tuple[list[NDArray], list[NDArray]]


class OptimizerState:
    """What an update rule remembers from one update to the next.

    Attributes
    ----------
    rule : Optimizer
        The update rule.
    schedule : Schedule
        How the learning rate develops.
    learning_rate_init, learning_rate : float
        Initial and current learning rate. Both may be set between calls of ``partial_fit``.
    t : int
        Updates made so far.
    factor : float
        What the schedule multiplies the learning rate by in the next epoch.
    epoch : int
        Epochs that the schedule has counted.
    n_waited, n_reductions : int
        Successive epochs without progress, and how often they were more than it tolerates.
    seed : int or None
        Of the masks of dropout, which depend on the number of the update, too. None: not drawn.
    averages : tuple or None
        Widths of the layers, and an array of shape (n_slots, n_parameters), each row laid out as
        by ``_network.views``. Where the weights are averaged two rows follow: the average and the
        weights themselves. None before the first update.
    """

    seed: int | None = None

    def __init__(self, rule: Optimizer, schedule: Schedule, learning_rate_init: float) -> None:
        self.rule = rule
        self.schedule = schedule
        self.learning_rate_init = learning_rate_init
        self._rate = float(learning_rate_init)
        self.t = 0
        self.factor = 1.0
        self.epoch = self.n_waited = self.n_reductions = 0
        self.averages: tuple[tuple[int, ...], NDArray] | None = None

    @property
    def rate(self) -> float:
        """The learning rate that the engine expects."""
        return self._rate * self.factor

    @property
    def learning_rate(self) -> float:
        return self._rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._rate = rate

    def take_factor(self, n_epochs: int) -> None:
        """Ask the schedule, which is so long, for the factor of the next epoch."""
        self.factor = self.schedule.factor(self.epoch, n_epochs, self.n_reductions)

    def end_epoch(self, progress: bool, samples_seen: int, n_epochs: int) -> None:
        """Count an epoch and prepare the next."""
        schedule = self.schedule
        self._rate = schedule.after_epoch(self._rate, self.learning_rate_init, samples_seen)
        self.epoch += 1
        self.n_waited = 0 if progress else self.n_waited + 1
        if self.n_waited > schedule.patience:
            self.n_waited = 0
            self.n_reductions += 1
        self.take_factor(n_epochs)


class AdamState(OptimizerState):
    """As in scikit-learn, ``learning_rate`` includes the bias corrections."""

    rule: Adam

    @property
    def rate(self) -> float:
        return self.learning_rate_init * self.factor  # the engine corrects it in every update

    @property
    def learning_rate(self) -> float:
        """Step size of the last update."""
        if self.t == 0:
            return float(self.learning_rate_init)
        rule, t = self.rule, self.t
        correction = math.sqrt(1 - rule.beta_2**t) / (1 - rule.beta_1**t)
        return self.learning_rate_init * self.factor * correction


class _Open(NamedTuple):
    """A net and what it was made for."""

    net: _core.Net
    config: dict[str, Any]
    max_rows: int
    max_nnz: int

    def serves(self, config: dict[str, Any], max_rows: int, max_nnz: int) -> bool:
        same_kind = (self.max_nnz > 0) == (max_nnz > 0)  # of X: sparse or dense
        fits = self.max_rows >= max_rows and self.max_nnz >= max_nnz
        return self.config == config and same_kind and fits

    def averages(self) -> tuple[tuple[int, ...], NDArray]:
        config, net = self.config, self.net
        widths, n_slots = config["units"], net.n_slots
        n_rows = n_slots if net.average_slot is None else n_slots + 1
        averages = np.empty((n_rows, count(widths, config)), config["dtype"])
        for slot in range(n_slots):
            net.store_state(slot, averages[slot])
        if n_rows > n_slots:
            net.store_params(*views(averages[-1], widths, config))
        return widths, averages


class Session:
    """A network in training: the engine's net and its optimizer's state.

    Between calls of ``partial_fit`` it keeps the net, whose memory is costly to take anew and in
    which the optimizer's averages live. What is stored or copied holds the averages instead. When a
    ``fit`` has finished they are rarely wanted, and up to twice as large as the model: they are
    kept for as long as the process lives and left out of pickles.

    Attributes
    ----------
    optimizer : OptimizerState
        Averages excepted while there is a net.
    finished : bool
        Whether the last call was ``fit``.
    """

    finished = False
    _open: _Open | None = None
    _lent: _Open | None = None  # as long as somebody trains

    def __init__(self, rule: Optimizer, schedule: Schedule, learning_rate_init: float) -> None:
        if isinstance(rule, Adam):
            # As in scikit-learn, it does not follow the schedules that move the rate itself.
            schedule = CONSTANT if schedule.moves_rate else schedule
            self.optimizer = AdamState(rule, schedule, learning_rate_init)
        else:
            self.optimizer = OptimizerState(rule, schedule, learning_rate_init)

    @contextlib.contextmanager
    def net(self, config: dict[str, Any], max_rows: int, max_nnz: int) -> Iterator[_core.Net]:
        """Lend a net of this configuration that holds the optimizer's state."""
        optimizer = self.optimizer
        config = config | {"optimizer": optimizer.rule.choice}
        if optimizer.seed is not None:
            config["seed"] = optimizer.seed
        self.finished = False
        # In one step, so that a second thread that trains this estimator gets another net. Its
        # numbers will be wrong, as they are then in scikit-learn, but nothing worse happens.
        opened = self.__dict__.pop("_open", None)
        averages = optimizer.averages
        try:
            if opened is None or not opened.serves(config, max_rows, max_nnz):
                averages = averages if opened is None else opened.averages()
                opened = None
                net = _core.Net(max_rows=max_rows, max_nnz=max_nnz, **config)
                if averages is not None:
                    _load(net, config, *averages)
                opened = _Open(net, config, max_rows, max_nnz)
            averages = None
            opened.net.step = optimizer.t
            self._lent = opened
            yield opened.net
        finally:
            self._lent = None
            if opened is not None:
                optimizer.t = opened.net.step
                opened.net.release_data()
            optimizer.averages, self._open = averages, opened

    def finish(self) -> None:
        """Give the net's memory back and keep the optimizer's state for this process only."""
        self.optimizer.averages, self._open = self._averages(), None
        self.finished = True

    def stored(self) -> dict[str, Any]:
        """Return all there is to remember as arrays, builtins and public classes."""
        opened, optimizer = self._open or self._lent, self.optimizer
        t = optimizer.t if opened is None else opened.net.step
        return vars(optimizer) | {"averages": self._averages(), "t": t}

    @classmethod
    def restored(cls, stored: dict[str, Any]) -> Self:
        """Return the session that was stored."""
        session = cls(stored["rule"], stored["schedule"], stored["learning_rate_init"])
        vars(session.optimizer).update(stored)
        return session

    def _averages(self) -> tuple[tuple[int, ...], NDArray] | None:
        opened, optimizer = self._open or self._lent, self.optimizer
        averages = optimizer.averages if opened is None else opened.averages()
        if averages is None or has_average(optimizer.rule, averages[1]):
            return averages
        if isinstance(optimizer.rule, SGD) and optimizer.rule.momentum == 0:
            return None  # without influence on the next update
        return averages

    def __deepcopy__(self, memo: dict[int, Any]) -> "Session":
        copied = Session.restored(copy.deepcopy(self.stored(), memo))
        copied.finished = self.finished
        return copied


def _load(net: _core.Net, config: dict[str, Any], widths: tuple[int, ...], averages: Any) -> None:
    if widths != config["units"]:
        raise ValueError(
            f"The solver's state is that of a network with layers of {list(widths)} units, but "
            f"coefs_ and intercepts_ now have {list(config['units'])}."
        )
    averages = averages.astype(config["dtype"], copy=False)
    for slot, flat in enumerate(averages[: net.n_slots]):
        net.load_state(slot, flat)
    if net.average_slot is not None and len(averages) > net.n_slots:
        net.load_params(*views(averages[-1], widths, config))


def has_average(rule: Optimizer, averages: NDArray) -> bool:
    """Whether average and weights follow the optimizer's slots. Refuse any other number of rows."""
    n_slots = _core.OPTIMIZERS[rule.name].n_slots
    if len(averages) not in (n_slots, n_slots + 2):
        raise ValueError(f"{rule.name!r} has {n_slots} numbers for each weight.")
    return len(averages) > n_slots


def load_weights(net: _core.Net, weights: Weights, published: list[NDArray]) -> None:
    """Bring weights into a net.

    If it averages them, the published ones are the average. Training goes on from the weights
    behind it, which the net has, unless somebody has replaced the average: then both begin there.

    Parameters
    ----------
    net : Net
        The network.
    weights : tuple of two lists of ndarray
        Coefs and intercepts in the dtype of the net.
    published : list of ndarray
        The same in their own.
    """
    slot = net.average_slot
    if slot is not None:
        average: Weights = tuple([np.empty_like(a) for a in part] for part in weights)
        net.store_state(slot, *average)
        pairs = zip([*average[0], *average[1]], published, strict=True)
        if all(np.array_equal(a.astype(b.dtype, copy=False), b) for a, b in pairs):
            return
        net.load_state(slot, *weights)
    net.load_params(*weights)


def store_weights(net: _core.Net, weights: Weights) -> None:
    """Take the weights out of a net, or their average if it keeps one."""
    if net.average_slot is None:
        net.store_params(*weights)
    else:
        net.store_state(net.average_slot, *weights)
