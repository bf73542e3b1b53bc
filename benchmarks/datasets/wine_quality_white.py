from benchmark_utils import FileDataset


class Dataset(FileDataset):
    """4,898 x 11, 7 classes: some of five rows."""

    name = "wine_quality_white"
