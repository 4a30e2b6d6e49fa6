"""What ten lines of timm and scikit-learn give: pooled features, and a logistic regression whose C is tuned."""

from common import Options, accuracy, image_sets, network, read_options, report
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, cat, inference_mode
from torch.utils.data import DataLoader


def main() -> None:
    options = read_options()
    train, test = image_sets(options)
    x, y = features(train, options)
    grid = {"logisticregression__C": [1e-4, 1e-3, 1e-2, 1e-1, 1.0]}
    model = GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)), grid, cv=5).fit(x, y)
    x_test, y_test = features(test, options)
    report(options, "timm + scikit-learn", accuracy(model.predict(x_test), y_test))


@inference_mode()
def features(images: object, options: Options) -> tuple[Tensor, Tensor]:
    backbone = network(options, classes=0).eval()
    blocks = [(backbone(pixels), labels) for pixels, labels in DataLoader(images, batch_size=32)]
    return cat([rows for rows, _ in blocks]), cat([labels for _, labels in blocks])


if __name__ == "__main__":
    main()
