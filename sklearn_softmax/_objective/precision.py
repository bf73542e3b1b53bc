"""Which dtype products are taken in, where features far from zero would lose digits.

Centring and scaling is done in the parameters, so products are taken of features as they are.
A feature whose mean is many standard deviations from zero leaves few digits to what its rows
differ by.
"""

import numpy as np

from .._arrays import portable
from .scaling import Scaling

# Means of features, in standard deviations, beyond which logits lose digits that matter.
_LARGEST_OFFSET_IN_FLOAT32, _LARGEST_OFFSET_IN_FLOAT64 = 1e3, 1e7
# Means of features, in standard deviations, that leave float32 digits enough; and features whose
# squares are finite in it, as far as their scale tells.
_LARGEST_OFFSET, _LARGEST_ROUGH = 100.0, 1e12


def keep_digits(blocks, scaling):
    """Have rows computed so that features far from zero lose no digits that matter.

    Parameters
    ----------
    blocks : RowBlocks
        The rows.
    scaling : Scaling
        Centre and scale of their features.

    Returns
    -------
    blocks : RowBlocks
        The rows, perhaps in another dtype, or with an origin.
    scaling : Scaling
        That of their features: the origin is subtracted.
    origin : ndarray of shape (n_features,) or None
        What the blocks subtract from their rows.
    """
    if scaling.is_trivial:
        return blocks, scaling, None
    center = portable.to_numpy(scaling.center)
    offset = np.max(np.abs(center) / portable.to_numpy(scaling.scale))
    if offset > _LARGEST_OFFSET_IN_FLOAT64 and not blocks.is_sparse:
        no_center = blocks.place(np.zeros_like(center))
        scaling = Scaling(no_center, scaling.scale, scaling.second_moment)
        return blocks.recast(np.float64, center), scaling, center
    if blocks.dtype == np.float32 and offset > _LARGEST_OFFSET_IN_FLOAT32:
        return blocks.recast(np.float64), scaling, None
    return blocks, scaling, None


def bears_float32(scaling):
    """Return whether products in float32 show, roughly, what rows of dense features differ by."""
    if scaling.is_trivial:
        return False
    center, scale = np.abs(scaling.center), scaling.scale
    return np.max(center / scale) <= _LARGEST_OFFSET and np.max(center + scale) <= _LARGEST_ROUGH


def batch_origin(blocks, scaling):
    """Return what is taken off the features of a batch; None where they are near enough to 0.

    In float32, features far from 0 lose in the logits the digits that they differ by.
    """
    if blocks.is_sparse or blocks.dtype != np.float32 or not blocks.is_numpy:
        return None
    if scaling.is_trivial or np.max(np.abs(scaling.center) / scaling.scale) < _LARGEST_OFFSET:
        return None
    return scaling.center.astype(np.float32)
