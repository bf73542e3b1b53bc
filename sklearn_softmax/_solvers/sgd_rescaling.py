"""The state of SGD in other scales, in another memory order, or on another device."""

from dataclasses import replace
from typing import Any

import numpy as np

from .._arrays.portable import to_numpy
from .._objective.scaling import Scaling


def moved(scaling, move):
    """Return a scaling with every array moved."""
    if scaling.is_trivial:
        return scaling
    return Scaling(move(scaling.center), move(scaling.scale))


def _matrices(state, shape, order):
    """Return a state's vectors as matrices."""
    return {
        name: None if vector is None else vector.reshape(shape, order=order)
        for name, vector in _vectors(state).items()
    }


def _vectors(state):
    return {"iterate": state.iterate, "velocity": state.velocity, "average": state.average}


def packed(state, objective, order):
    """Return a state in the memory order of an objective."""
    if order == objective.order:
        return state
    shape = objective.n_outputs, objective.n_columns
    host = {name: None if v is None else to_numpy(v) for name, v in _vectors(state).items()}
    matrices = _matrices(replace(state, **host), shape, order)
    return replace(
        state,
        **{
            name: None if matrix is None else objective.pack(objective.blocks.place(matrix))
            for name, matrix in matrices.items()
        },
    )


def rescaled(state, objective, old, new, order):
    """Return a state (NumPy's) as it is in another scaling: the model stays the same."""
    shape = objective.n_outputs, objective.n_columns

    def point(matrix):
        return new.from_raw(*old.to_raw(*objective.split(matrix)))

    def derivative(matrix):
        coef, intercept = objective.split(matrix)
        if not old.is_trivial:
            coef = coef * old.scale + intercept[:, None] * old.center
        return new.gradient(coef, intercept), intercept

    result: dict[str, Any] = {}
    for name, matrix in _matrices(state, shape, order).items():
        if matrix is None:
            result[name] = None
            continue
        coef, intercept = (derivative if name == "velocity" else point)(matrix)
        moved = coef
        if objective.fit_intercept:
            moved = np.column_stack([coef, intercept])
        result[name] = moved.ravel(order=order)
    return replace(state, **result)
