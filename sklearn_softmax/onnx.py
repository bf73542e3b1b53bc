"""Export to ONNX by skl2onnx: ``pip install "sklearn-softmax[onnx]"``.

A single classifier needs no more than its :meth:`to_logistic_regression`, which skl2onnx can
convert. In pipelines and other meta-estimators the classifier itself must be known to skl2onnx,
which :func:`register_converters` takes care of.
"""

from ._classifier import SoftmaxRegressionClassifier
from ._classifier_cv import SoftmaxRegressionClassifierCV

__all__ = ["register_converters"]


def register_converters() -> None:
    """Tell skl2onnx how the classifiers of this package are converted.

    Call it once, and then skl2onnx as ever::

        register_converters()
        exported = skl2onnx.to_onnx(pipeline, X[:1], options={"zipmap": False})

    float32 inputs make a model that computes in float32, float64 inputs one that computes in
    float64. Of skl2onnx's options ``zipmap`` is supported.
    """
    try:
        from skl2onnx import update_registered_converter
        from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
    except ImportError as error:
        raise ImportError(
            'export to ONNX needs skl2onnx: pip install "sklearn-softmax[onnx]"'
        ) from error
    for kind in (SoftmaxRegressionClassifier, SoftmaxRegressionClassifierCV):
        update_registered_converter(
            kind,
            f"SklearnSoftmax{kind.__name__}",
            calculate_linear_classifier_output_shapes,
            _convert,
            options={
                "zipmap": [True, False, "columns"],
                "nocl": [False],
                "output_class_labels": [False],
            },
        )


def _convert(scope, operator, container):
    """Convert the LogisticRegression that is the same model, and pass its outputs on."""
    model = operator.raw_operator.to_logistic_regression().densify()
    inner = scope.declare_local_operator("SklearnLinearClassifier", model)
    inner.inputs = operator.inputs
    for outer in operator.outputs:
        variable = scope.declare_local_variable(outer.raw_name, outer.type)
        inner.outputs.append(variable)
        container.add_node(
            "Identity",
            [variable.onnx_name],
            [outer.onnx_name],
            name=scope.get_unique_operator_name("Identity"),
        )
