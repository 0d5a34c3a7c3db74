"""Runs exported heads without this package.

This is a program of its own that nothing imports: it is started by its path
and makes sure that keras_ffl can't be imported. Its arguments are an .npy file
of uint8 images (n, h, w, channels), the .npz file to write, the batch sizes to
measure ("1,128", or "" for none), the name of the main output, and the exported
files.
"""

import os
import pathlib
import sys
import time

sys.modules["keras_ffl"] = None
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402

BATCH = 100
# Per measurement: warm-up calls, minimum calls and minimum seconds.
WARM_UP, CALLS, SECONDS = 5, 20, 3.0


def saved_model(path, output):
    import tensorflow as tf

    # The signature is only valid as long as the model.
    model = tf.saved_model.load(path)
    signature = model.signatures["serving_default"]

    def run(images, model=model):
        return signature(images=tf.constant(images))[output].numpy()

    return run


def keras_file(path, output):
    import keras

    return keras.models.load_model(path).predict_on_batch


def litert(path, output):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=os.cpu_count())
    details = interpreter.get_input_details()[0]
    index, (scale, zero_point) = details["index"], details["quantization"]
    found = interpreter.get_output_details()[0]["index"]
    shape = None

    def run(images):
        nonlocal shape
        if images.shape != shape:
            shape = images.shape
            interpreter.resize_tensor_input(index, shape)
            interpreter.allocate_tensors()
        if scale not in (0.0, 1.0) or zero_point:
            values = np.rint(images / scale + zero_point)
            images = np.clip(values, 0, 255).astype("uint8")
        interpreter.set_tensor(index, images)
        interpreter.invoke()
        return interpreter.get_tensor(found)

    return run


def onnx(path, output):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        path, providers=["CPUExecutionProvider"]
    )
    return lambda images: session.run([output], {"images": images})[0]


LOADERS = {".keras": keras_file, ".tflite": litert, ".onnx": onnx}


def milliseconds(run, images):
    """Measures the median time of a call."""
    for _ in range(WARM_UP):
        run(images)
    times, started = [], time.perf_counter()
    while len(times) < CALLS or time.perf_counter() - started < SECONDS:
        before = time.perf_counter()
        run(images)
        times.append(time.perf_counter() - before)
    return 1000 * float(np.median(times))


def main(images, result, batches, output, *paths):
    images = np.load(images)
    values = {}
    for k, path in enumerate(paths):
        run = LOADERS.get(pathlib.Path(path).suffix, saved_model)(path, output)
        values[f"probabilities_{k}"] = np.concatenate(
            [
                run(images[start : start + BATCH])
                for start in range(0, len(images), BATCH)
            ]
        )
        for batch in map(int, filter(None, batches.split(","))):
            repeated = np.resize(images, (batch, *images.shape[1:]))
            values[f"milliseconds_{batch}_{k}"] = milliseconds(run, repeated)
    np.savez(result, **values)


if __name__ == "__main__":
    main(*sys.argv[1:])
