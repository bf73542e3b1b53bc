from benchmark_utils import FileDataset


class Dataset(FileDataset):
    """92,962 x 54, 7 classes: scales from 0.01 to 1560, one-hot columns."""

    name = "covertype_93k"
