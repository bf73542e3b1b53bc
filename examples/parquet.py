"""
Parquet: a stream, or a collection
==================================

A table in Parquet files goes through ``partial_fit`` batch by batch, or through ``fit`` as a Dask
collection.
"""

# %%
# Some files
# ----------

import tempfile
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pyarrow.parquet as pq
from sklearn.datasets import load_digits

from sklearn_softmax import SoftmaxRegressionClassifier

digits = load_digits(as_frame=True).frame
columns = [name for name in digits.columns if name != "target"]
folder = tempfile.TemporaryDirectory()
for number in range(4):
    digits[number::4].to_parquet(
        Path(folder.name) / f"part-{number}.parquet", index=False
    )
files = sorted(Path(folder.name).glob("*.parquet"))

# %%
# Record batches through ``partial_fit``
# --------------------------------------
# One batch is in memory at a time. A few passes come near the optimum.

streamed = SoftmaxRegressionClassifier(random_state=0)
for _ in range(10):
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=256):
            table = batch.to_pandas()
            streamed.partial_fit(
                table[columns], table["target"], classes=np.arange(10)
            )
print(
    f"stream: accuracy {streamed.score(digits[columns], digits['target']):.3f}"
)

# %%
# All files through ``fit``
# -------------------------
# Dask reads them again for every evaluation; ``table.persist()`` keeps them in memory, that of a
# cluster if there is one. Partitions need not say how many rows they have.

table = dd.read_parquet(files)
optimum = SoftmaxRegressionClassifier().fit(table[columns], table["target"])
print(f"fit: accuracy {optimum.score(table[columns], table['target']):.3f}")
probabilities = optimum.predict_proba(table[columns])  # not yet computed
print(probabilities)
print(probabilities.compute()[:2].round(3))

folder.cleanup()
