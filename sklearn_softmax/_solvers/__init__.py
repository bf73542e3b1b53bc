"""How a solver learns. A solver is a generator of states; it is given an objective.

- :mod:`.lbfgs`: L-BFGS from any inverse Hessian; orthant-wise for L1 penalties.
  :mod:`.line_search` finds the next point, :mod:`.confirmation` confirms the end, and
  :mod:`.history` holds the steps that are remembered.
- :mod:`.coordinate_descent`: proximal Newton for L1 penalties, with a search of its own;
  :mod:`.quadratic` minimises its model.
- :mod:`.dual_ascent`: sweeps over sparse rows, from which L-BFGS starts.
- :mod:`.sgd`: epochs of minibatch SGD, and how the learning rate falls. :mod:`.sgd_steps` takes a
  step. :mod:`.sgd_metric` says which metric and rate the rows bear, and
  :mod:`sklearn_softmax._fitting_sgd` chooses between that and what the user gives.
  :mod:`.sgd_moments` keeps what the rows of a stream have been like. :mod:`.sgd_rescaling` takes
  the state to other scales.
- :mod:`.training`: the loop around a solver: what is recorded, who is told, when it ends.
  :mod:`.progress` tells when a curve has stopped falling.

It imports :mod:`sklearn_softmax._rows` and :mod:`sklearn_softmax._arrays`, and of
:mod:`sklearn_softmax._objective` only the scaling. L-BFGS is given the curvature, and
:func:`.lbfgs.lbfgs` says what it asks of it. So nothing here imports
:mod:`sklearn_softmax._curvature`. Another solver is a generator in a file of its own, which
:mod:`sklearn_softmax._fitting` chooses.
"""
