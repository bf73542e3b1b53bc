"""What is minimised: the penalised cross-entropy as a function of one vector of parameters.

- :mod:`.linear`: loss, gradient and diagonal of the Hessian of a linear model, for rows anywhere.
- :mod:`.penalty`: what is penalised, and how strongly; the intercept is not.
- :mod:`.parameters`: coefficients and intercepts as one flat vector, and back.
- :mod:`.scaling`: features centred and scaled in the space of the parameters.
- :mod:`.precision`: when products are taken in float64 or float32.
- :mod:`.minibatches`: the same objective, batch by batch, for SGD.
- :mod:`.small_table`: the same for tables that are small enough to be kept scaled.
- :mod:`.principal_components`: the same for fewer rows than features.
- :mod:`.scaled_rows`: rows as the scaled parameters see them, and samples of them.
- :mod:`.duality_gap`: how far from the minimum a vector is, at most.

It imports :mod:`sklearn_softmax._rows`, and knows neither solvers nor models of the curvature.
Another form of the problem is a class with the methods of :class:`.linear.SoftmaxObjective` in a
file of its own. :mod:`sklearn_softmax._fitting` chooses between the forms.
"""
