"""Operations that tf2onnx can't convert."""

import functools

import numpy as np


@functools.cache
def add_to_tf2onnx():
    """Teaches tf2onnx the complementary error function of Keras' GELU."""
    from tf2onnx import utils
    from tf2onnx.handler import tf_op

    @tf_op("Erfc")
    class Erfc:
        @classmethod
        def version_9(cls, ctx, node, **kwargs):
            dtype = ctx.get_dtype(node.output[0])
            numbers = utils.map_onnx_to_numpy_type(dtype)
            one = ctx.make_const(utils.make_name("one"), np.ones((), numbers))
            erf = ctx.make_node("Erf", node.input, dtypes=[dtype])
            shape = ctx.get_shape(node.output[0])
            ctx.remove_node(node.name)
            ctx.make_node(
                "Sub",
                [one.output[0], erf.output[0]],
                name=node.name,
                outputs=node.output,
                shapes=[shape],
                dtypes=[dtype],
            )

    return Erfc
