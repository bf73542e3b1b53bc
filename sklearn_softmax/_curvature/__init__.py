"""Models of the Hessian, which steps start from, and which one when.

- :mod:`.choice`: chooses a model by what it costs, and renews it.
- :mod:`.exact`: all of the Hessian, factored (Newton's steps); :mod:`.hessians` sums it over rows.
- :mod:`.square_root`: a root of the Hessian, where the Hessian itself has lost too many digits.
- :mod:`.kronecker`: variances in a Kronecker-factored basis, for many parameters.
- :mod:`.diagonal`: the diagonal, and a bound of it.
- :mod:`.pairs`: the exact Hessian by some coefficients, for proximal Newton.
- :mod:`.entries`: for sparse rows, descent along coefficients by the entries of X.
- :mod:`.axes`: principal axes of rows, which the exact and the Kronecker model are taken in.

It imports :mod:`sklearn_softmax._objective` and what is below that, and no solver. Another model
for L-BFGS is a class with ``renew(vector)`` and ``solve(gradient, free)``, named in ``choice``.
What proximal Newton takes, :mod:`.pairs`, is named in ``_fitting`` and chooses :mod:`.entries`
itself.
"""
