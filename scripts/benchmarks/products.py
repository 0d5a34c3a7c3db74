"""The products in convolutions and dense layers of a TensorFlow graph."""

import math


def count_products(graph):
    """Counts the multiply-adds of a graph's convolutions and matrix products.

    Those of gradients included, but of plain 2D convolutions and products of
    two matrices alone, and none within nested functions. What no state depends
    on doesn't count, because TensorFlow drops it before it runs the graph.

    Args:
        graph: `tf.Graph` whose operations have known shapes.

    Returns:
        Int.
    """
    operations = graph.get_operations()
    needed = {each for each in operations if each.op_def.is_stateful}
    waiting = list(needed)
    while waiting:
        operation = waiting.pop()
        sources = {each.op for each in operation.inputs}
        new = sources.union(operation.control_inputs) - needed
        needed |= new
        waiting += new
    return sum(map(_products, needed))


def _products(operation):
    if operation.type == "MatMul":
        left = operation.inputs[0].shape
        inner = left[0] if operation.get_attr("transpose_a") else left[1]
        return math.prod(operation.outputs[0].shape) * inner
    if operation.type == "Conv2D":
        result, kernel = operation.outputs[0], operation.inputs[1]
    elif operation.type == "Conv2DBackpropInput":
        result, kernel = operation.inputs[2], operation.inputs[1]
    elif operation.type == "Conv2DBackpropFilter":
        result, kernel = operation.inputs[2], operation.outputs[0]
    else:
        return 0
    return math.prod(result.shape) * math.prod(kernel.shape[:-1])
