"""The errors printed in the paper.

Reference:
    Kim et al., 2019, https://arxiv.org/abs/1904.09058, Tables I to VI.
"""

import dataclasses

from keras_ffl.studies.tables.entries import PrintedError

# The networks' labels in the paper.
NETWORK_LABELS = {
    "resnet32": "ResNet-32",
    "resnet56": "ResNet-56",
    "wrn_16_2": "WRN-16-2",
    "wrn_40_2": "WRN-40-2",
}
DATASET_LABELS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}

# The mixed pairs of Tables V and VI.
PAIRS = (("resnet32", "wrn_16_2"), ("resnet56", "wrn_40_2"))

# Tables I (a) and (b), for each network: mean and std of 10 runs of DualNet
# and FFL on CIFAR-10, then on CIFAR-100.
TABLE_1A = {
    "resnet32": ((6.21, 0.20), (5.78, 0.13), (27.49, 0.31), (25.56, 0.32)),
    "resnet56": ((5.67, 0.12), (5.26, 0.17), (25.87, 0.29), (23.53, 0.25)),
    "wrn_16_2": ((5.92, 0.16), (5.97, 0.13), (25.71, 0.20), (24.74, 0.31)),
    "wrn_40_2": ((4.94, 0.10), (4.6, 0.13), (23.22, 0.25), (21.05, 0.25)),
}

TABLE_1B = {
    "resnet32": ((8.23, 0.31), (6.06, 0.15), (34.91, 1.23), (27.06, 0.34)),
    "resnet56": ((7.34, 0.25), (5.58, 0.13), (32.67, 1.14), (24.85, 0.30)),
    "wrn_16_2": ((7.53, 0.20), (6.09, 0.09), (31.7, 1.00), (25.72, 0.28)),
    "wrn_40_2": ((6.25, 0.14), (4.75, 0.16), (28.4, 0.61), (22.06, 0.20)),
}

# Table II, for cases A to D: fused classifier, sub-networks.
TABLE_2 = (
    (PrintedError(25.56, 0.32, 10), PrintedError(27.06, 0.34, 10)),
    (PrintedError(26.1, 0.36, 10), PrintedError(27.46, 0.31, 10)),
    (PrintedError(27.03, 0.31, 10), PrintedError(28.36, 0.44, 10)),
    (PrintedError(27.29, 0.24, 10), PrintedError(31.04, 0.31, 10)),
)

# Table III, for each network: ONE, FFL-S, ONE-E, FFL: mean, std, runs, best.
TABLE_3 = {
    "resnet32": (
        PrintedError(26.94, 0.21, 10, 26.64),
        PrintedError(26.66, 0.21, 10, 26.3),
        PrintedError(25.19, 0.20, 10, 24.75),
        PrintedError(24.82, 0.33, 10, 24.31),
    ),
    "resnet56": (
        PrintedError(25.10, 0.29, 10, 24.63),
        PrintedError(24.85, 0.31, 10, 24.51),
        PrintedError(23.59, 0.24, 10, 23.27),
        PrintedError(23.43, 0.19, 10, 23.20),
    ),
}

# Table IV: row, method, head, top-1, top-5; ± is over the branches of one run.
# The independent networks are from the text, which has no top-5 of them.
TABLE_4 = (
    ("vanilla", "vanilla", "vanilla", PrintedError(26.69), PrintedError(8.58)),
    (
        "ONE",
        "one",
        "sub",
        PrintedError(25.61, 0.02, 1),
        PrintedError(7.96, 0.02, 1),
    ),
    (
        "FFL-S",
        "ffl",
        "sub",
        PrintedError(25.58, 0.06, 1),
        PrintedError(7.95, 0.06, 1),
    ),
    ("ONE-E", "one", "teacher", PrintedError(24.48), PrintedError(7.31)),
    ("FFL", "ffl", "fused", PrintedError(23.91), PrintedError(7.17)),
    ("2-net, networks", "ensemble", "sub", PrintedError(26.37, 0.01, 1), None),
    ("2-net", "ensemble", "ensemble", PrintedError(24.36), None),
)

# In the text about Table V, and in Table VI.
FUSED_OF_PAIRS = (PrintedError(24.23, 0.25, 10), PrintedError(22.20, 0.21, 10))

# Table V, net 1 and net 2 of each pair: DML, FFL.
TABLE_5 = (
    (
        (PrintedError(28.31, 0.28, 10), PrintedError(26.45, 0.30, 10)),
        (PrintedError(27.06, 0.26, 10), PrintedError(25.93, 0.30, 10)),
    ),
    (
        (PrintedError(26.75, 0.21, 10), PrintedError(23.33, 0.27, 10)),
        (PrintedError(26.23, 0.30, 10), PrintedError(23.06, 0.43, 10)),
    ),
)

# In the text: ResNet-32, ResNet-56 and WRN-16-2 with FFL.
THREE_SUB = (
    PrintedError(26.26, 0.19, 10),
    PrintedError(25.21, 0.38, 10),
    PrintedError(25.31, 0.21, 10),
)
THREE_FUSED = PrintedError(22.66, 0.22, 10)

# Table VI, for the networks: 2-net, FFL. The pairs of FFL are Table V's.
TABLE_6 = {
    ("resnet32",): (
        PrintedError(26.30, 0.35, 3, parameters=0.94),
        PrintedError(25.45, 0.28, 3, parameters=0.85),
    ),
    ("resnet56",): (
        PrintedError(24.91, 0.21, 3, parameters=1.72),
        PrintedError(24.04, 0.28, 3, parameters=1.54),
    ),
    ("wrn_16_2",): (
        PrintedError(25.03, 0.22, 3, parameters=1.40),
        PrintedError(24.70, 0.33, 3, parameters=1.29),
    ),
    ("wrn_40_2",): (
        PrintedError(22.26, 0.33, 3, parameters=4.52),
        PrintedError(21.35, 0.40, 3, parameters=4.03),
    ),
    PAIRS[0]: (
        PrintedError(24.78, 0.31, 3, parameters=1.22),
        dataclasses.replace(FUSED_OF_PAIRS[0], parameters=1.19),
    ),
    PAIRS[1]: (
        PrintedError(23.55, 0.45, 3, parameters=3.16),
        dataclasses.replace(FUSED_OF_PAIRS[1], parameters=3.14),
    ),
}

# Implied by the text on the three mixed networks; no deviation is printed.
VANILLA_RESNET_32 = PrintedError(30.96)
