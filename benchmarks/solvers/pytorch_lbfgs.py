import numpy as np
import torch
from benchopt import BaseSolver


class Solver(BaseSolver):
    """PyTorch's L-BFGS with strong Wolfe line search, over all rows at once."""

    name = "PyTorch L-BFGS"
    sampling_strategy = "callback"
    requirements = ["pip::torch"]

    def set_objective(self, X, y, C):
        self.C = C
        self.n_classes = int(y.max()) + 1
        if hasattr(X, "tocsr"):
            parts = X.indptr, X.indices, X.data
            self.X = torch.sparse_csr_tensor(*map(torch.from_numpy, parts), size=X.shape)
        else:
            kept = X.dtype in (np.float32, np.float64)
            self.X = torch.from_numpy(np.array(X, dtype=X.dtype if kept else float))
        self.y = torch.from_numpy(y)

    def run(self, callback):
        n_rows, n_features = self.X.shape
        n_outputs = self.n_classes if self.n_classes > 2 else 1
        options = {"dtype": self.X.dtype, "requires_grad": True}
        # Features by classes: the order that products with sparse rows take.
        self.coef = torch.zeros((n_features, n_outputs), **options)
        self.intercept = torch.zeros(n_outputs, **options)
        optimizer = torch.optim.LBFGS(
            [self.coef, self.intercept],
            max_iter=20,
            max_eval=1000,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )

        def closure():
            optimizer.zero_grad()
            logits = self.X @ self.coef + self.intercept
            if n_outputs == 1:
                logits = torch.hstack([torch.zeros_like(logits), logits])
            loss = torch.nn.functional.cross_entropy(logits, self.y)
            loss = loss + 0.5 / (self.C * n_rows) * (self.coef**2).sum()
            loss.backward()
            return loss

        while callback():
            optimizer.step(closure)

    def get_result(self):
        return {
            "coef": self.coef.detach().numpy().T,
            "intercept": self.intercept.detach().numpy(),
        }
