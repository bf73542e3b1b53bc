from benchmark_utils import FileDataset


class Dataset(FileDataset):
    """58,000 x 9, 7 classes: some of ten rows, outliers."""

    name = "shuttle"
