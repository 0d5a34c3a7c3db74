"""The networks against what torch's layers gave (`test_against_torch`)."""

import keras
import numpy as np
import pytest
from support.reference_networks import KINDS, RECORDED, SIZE, drawn


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_torch(kind):
    keras.config.set_dtype_policy("float64")
    model, images = drawn(kind, SIZE)
    logits = keras.ops.convert_to_numpy(model(images)["logits"])
    np.testing.assert_allclose(logits[0, :4], RECORDED[kind], rtol=1e-9)
