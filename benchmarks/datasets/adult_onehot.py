from benchmark_utils import FileDataset


class Dataset(FileDataset):
    """32,561 x 108, 2 classes: one-hot columns beside one of 1e5."""

    name = "adult_onehot"
