"""The arithmetic of a training step, counted in TensorFlow's graph."""

from benchmarks.common import spread

NETWORKS = ("resnet8", "resnet32")
ALONE = "vanilla"
METHODS = {
    "2-net": {"method": "ensemble", "branches": 2},
    "FFL": {"method": "ffl"},
    "FFL, 3 branches": {"method": "ffl", "branches": 3},
    "FFL, nothing shared": {"method": "ffl", "separate_stages": 0},
    "FFL, no fusion module": {"method": "ffl", "fusion": "average"},
    "FFL, detach_fusion": {"method": "ffl", "detach_fusion": True},
    "FFL, views": {"method": "ffl", "views": True},
    "FFL, ema_teacher": {"method": "ffl", "ema_teacher": True},
    "ONE": {"method": "one"},
    "ONE, 3 branches": {"method": "one", "branches": 3},
    "DualNet, iterative": {"method": "dualnet"},
    "DualNet, joint": {"method": "dualnet", "joint_epochs": 300},
    "DualNet, joint_extractors": {
        "method": "dualnet",
        "joint_epochs": 300,
        "joint_extractors": True,
    },
    "DML": {"method": "dml"},
    "DML, simultaneous": {"method": "dml", "simultaneous": True},
    "FFSD": {"method": "ffsd"},
    "PCL": {"method": "pcl", "branches": 2},
    "PCL, 3 branches": {"method": "pcl"},
    "PCL, no views": {"method": "pcl", "branches": 2, "views": False},
    "PCL, no views, 3 branches": {"method": "pcl", "views": False},
}
"""The options of methods by name; otherwise those of the preset cifar_ffl."""


def run(rounds):
    """Every method's step relative to the network alone; nothing is timed."""
    rows, ratios = [], {}
    for network in NETWORKS:
        alone = _million_products(network, {"method": ALONE})
        for name, options in METHODS.items():
            million = _million_products(network, options)
            row = f"{name}, {network}"
            rows.append({"step": row, "million multiply-adds": million})
            ratios[f"{row}/alone"] = spread([million / alone])
        rows.append({"step": network, "million multiply-adds": alone})
    about = {"per": "image of 32 × 32 and 100 classes"}
    return {"about": about, "rows": rows, "ratios": ratios}


def _million_products(network, options):
    """The multiply-adds of a step for one image, in millions."""
    import numpy as np
    import tensorflow as tf

    from benchmarks.contenders import traced_facts
    from keras_ffl import preset
    from keras_ffl.training import build_method

    config = preset("cifar_ffl", networks=(network,), **options)
    shape = (32, 32, 3)
    model = build_method(config, 100, shape)
    model.compile()
    facts = traced_facts(model)
    if getattr(config.options, "views", False):
        shape = (model.views, *shape)
    batch = np.zeros((1, *shape), "float32"), np.zeros(1, "int32")
    model.make_train_function()
    model.train_function(iter(tf.data.Dataset.from_tensors(batch)))
    return facts["gflop"] * 1000 / 2
