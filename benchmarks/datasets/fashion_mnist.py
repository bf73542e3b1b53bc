from benchmark_utils import FileDataset


class Dataset(FileDataset):
    """60,000 x 784, 10 classes: pixels from 0 to 255."""

    name = "fashion_mnist"
    parameters = {"scale": [1, 255]}

    def prepare(self, X):
        return X if self.scale == 1 else X / self.scale
