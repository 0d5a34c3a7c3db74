"""The photo pipeline compared with the bare decoder."""

import statistics

from benchmarks.common import Contender, ratio, take_turns

BATCH = 32
EPOCHS = 10
COMPARED = ("cut_and_resize", "training", "evaluation")


def run(rounds, data_dir=None):
    """Photos per second of the pipelines and of `tf.io.decode_jpeg` alone.

    All read the same encoded photos from memory, decode on all cores and return
    them in order. Training crops, flips, resizes to 224 and normalises them,
    evaluation does the same without flips. `cut_and_resize` is training
    without draws, flips, normalisation and batches.

    Args:
        rounds: Int.
        data_dir: Folder of JPEG files, or None for the two that come with
            scikit-learn.
    """
    contenders = [
        Contender(
            name,
            f"benchmarks.contenders_input:{name}",
            {"data_dir": data_dir, "batch": BATCH},
            calls=1,
            warmup=2,
        )
        for name in ("decode_jpeg", *COMPARED)
    ]
    memory = Contender(
        "memory",
        "benchmarks.contenders_input:resident_memory",
        {"data_dir": data_dir, "batch": BATCH, "epochs": EPOCHS},
        calls=1,
        warmup=1,
    )
    results = take_turns(contenders, rounds)
    (resident,) = take_turns([memory], 1).values()
    epochs = resident["facts"]["resident_mib"]
    seconds = {name: each["seconds"] for name, each in results.items()}
    cpu = {
        name: each["facts"]["cpu_seconds"][-rounds:]
        for name, each in results.items()
    }
    bare = "decode_jpeg"
    ratios = {}
    for name in COMPARED:
        # Ratios of speeds, so the times are swapped.
        ratios[f"{name}/{bare}"] = ratio(seconds[bare], seconds[name])
        ratios[f"{name}/{bare}, CPU time"] = ratio(cpu[bare], cpu[name])
    ratios["memory, epoch 10/epoch 2"] = ratio(epochs[-1:], epochs[1:2])
    facts = results[bare]["facts"]
    return {
        "about": {
            "photos": facts["photos"],
            "kB each": round(facts["kilobytes"]),
            "batch": BATCH,
            "dtype": "float32",
            "threads": "all",
            "MiB after each epoch": [round(each) for each in epochs],
        },
        "rows": [
            {
                "contender": name,
                "photos/s": 1 / statistics.median(seconds[name]),
                "photos/s of a core": 1 / statistics.median(cpu[name]),
            }
            for name in results
        ],
        "ratios": ratios,
    }
