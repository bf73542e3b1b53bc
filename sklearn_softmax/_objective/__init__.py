"""What is minimised: the penalised cross-entropy as a function of one vector of parameters.

- :mod:`.linear`: loss, gradient and penalty of a linear model, for rows anywhere. The penalty is
  here, and that the intercept has none (``penalty_columns``).
- :mod:`.scaling`: features centred and scaled in the space of the parameters.
- :mod:`.scaled_rows`: rows as those parameters see them, and samples of them.
- :mod:`.small_table`: the same objective for tables that are small enough to be kept scaled.
- :mod:`.principal_components`: the same for fewer rows than features.
- :mod:`.duality_gap`: how far from the minimum a vector is, at most.

It imports :mod:`sklearn_softmax._rows`, and knows neither solvers nor models of the curvature.
Another form of the problem is a class with the methods of :class:`.linear.SoftmaxObjective`.
"""
