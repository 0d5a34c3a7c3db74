"""The networks against the same ones in torch's standard layers."""

import keras
import numpy as np
import pytest
from support.reference_networks import RECORDED, SIZE, drawn

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
nn = torch.nn

pytestmark = pytest.mark.torch


class PostActivation(nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.shortcut_conv = self.shortcut_bn = nn.Identity()
        if stride != 1 or channels != filters:
            self.shortcut_conv = nn.Conv2d(
                channels, filters, 1, stride, bias=False
            )
            self.shortcut_bn = nn.BatchNorm2d(filters)

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + self.shortcut_bn(self.shortcut_conv(x)))


class PreActivation(nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.changes = stride != 1 or channels != filters
        if self.changes:
            self.shortcut_conv = nn.Conv2d(
                channels, filters, 1, stride, bias=False
            )

    def forward(self, x):
        y = torch.relu(self.bn1(x))
        shortcut = self.shortcut_conv(y) if self.changes else x
        y = self.conv1(y)
        return self.conv2(torch.relu(self.bn2(y))) + shortcut


class Network(nn.Module):
    def __init__(self, block, widths, blocks, num_classes):
        super().__init__()
        self.stem_conv = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.wide = block is PreActivation
        if self.wide:
            self.final_bn = nn.BatchNorm2d(widths[-1])
        else:
            self.stem_bn = nn.BatchNorm2d(16)
        channels = 16
        self.blocks = nn.ModuleDict()
        for stage, filters in enumerate(widths, start=1):
            for index in range(1, blocks + 1):
                stride = 2 if stage > 1 and index == 1 else 1
                self.blocks[f"stage{stage}_block{index}"] = block(
                    channels, filters, stride
                )
                channels = filters
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = self.stem_conv(x)
        if not self.wide:
            x = torch.relu(self.stem_bn(x))
        for block in self.blocks.values():
            x = block(x)
        if self.wide:
            x = torch.relu(self.final_bn(x))
        return x, self.classifier(x.mean((2, 3)))


class Bottleneck(nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.conv3 = nn.Conv2d(filters, 4 * filters, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * filters)
        self.shortcut_conv = self.shortcut_bn = nn.Identity()
        if channels != 4 * filters:
            self.shortcut_conv = nn.Conv2d(
                channels, 4 * filters, 1, stride, bias=False
            )
            self.shortcut_bn = nn.BatchNorm2d(4 * filters)

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + self.shortcut_bn(self.shortcut_conv(x)))


class ImageNetNetwork(nn.Module):
    def __init__(self, block, blocks, num_classes):
        super().__init__()
        self.stem_conv = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.stem_bn = nn.BatchNorm2d(64)
        self.pooling = nn.MaxPool2d(3, 2, 1)
        channels = 64
        self.blocks = nn.ModuleDict()
        for stage, count in enumerate(blocks, start=1):
            filters = 32 * 2**stage
            for index in range(1, count + 1):
                stride = 2 if stage > 1 and index == 1 else 1
                self.blocks[f"stage{stage}_block{index}"] = block(
                    channels, filters, stride
                )
                channels = 4 * filters if block is Bottleneck else filters
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = self.pooling(torch.relu(self.stem_bn(self.stem_conv(x))))
        for block in self.blocks.values():
            x = block(x)
        return x, self.classifier(x.mean((2, 3)))


def _pairs(model, network):
    """(Keras layer, torch module) for everything with weights, by name."""
    modules = {
        name.replace("blocks.", "").replace(".", "_"): module
        for name, module in network.named_modules()
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.Linear))
    }
    layers = {layer.name: layer for layer in model.layers if layer.weights}
    assert layers.keys() == modules.keys()
    return [(layers[name], modules[name]) for name in layers]


def _copy_weights(pairs):
    for layer, module in pairs:
        weights = [torch.from_numpy(w.copy()) for w in layer.get_weights()]
        with torch.no_grad():
            if isinstance(module, nn.Conv2d):
                module.weight.copy_(weights[0].permute(3, 2, 0, 1))
            elif isinstance(module, nn.Linear):
                module.weight.copy_(weights[0].T)
                module.bias.copy_(weights[1])
            else:
                module.weight.copy_(weights[0])
                module.bias.copy_(weights[1])
                module.running_mean.copy_(weights[2])
                module.running_var.copy_(weights[3])


NETWORKS = {
    "resnet20": lambda: Network(PostActivation, (16, 32, 64), 3, 10),
    "wrn_16_2": lambda: Network(PreActivation, (32, 64, 128), 2, 10),
    "imagenet_resnet18": lambda: ImageNetNetwork(
        PostActivation, (2, 2, 2, 2), 10
    ),
    "start of imagenet_resnet50": lambda: ImageNetNetwork(
        Bottleneck, (3, 4), 10
    ),
}


def _compare(kind, size, training, dtype, rtol):
    model, images = drawn(kind, size, dtype)
    network = NETWORKS[kind]().to(getattr(torch, dtype)).train(training)
    pairs = _pairs(model, network)
    _copy_weights(pairs)

    outputs = model(images, training=training)
    with torch.no_grad():
        features, logits = network(
            torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        )
    features = features.permute(0, 2, 3, 1).numpy()
    for name, expected in (("features", features), ("logits", logits.numpy())):
        actual = keras.ops.convert_to_numpy(outputs[name])
        assert actual.dtype == dtype
        np.testing.assert_allclose(
            actual, expected, rtol=rtol, atol=rtol * np.abs(expected).max()
        )
    assert np.ptp(logits.numpy(), axis=0).min() > 1e-3
    if size == SIZE and not training:
        np.testing.assert_allclose(logits[0, :4], RECORDED[kind], rtol=1e-9)
    return pairs


@pytest.mark.parametrize(
    "kind, size, training",
    [
        *((kind, SIZE, False) for kind in NETWORKS),
        ("resnet20", (11, 18), True),
        ("wrn_16_2", (11, 18), True),
        ("imagenet_resnet18", (64, 64), True),
        ("start of imagenet_resnet50", (33, 50), True),
    ],
)
def test_same_outputs_in_float64(kind, size, training):
    keras.config.set_dtype_policy("float64")
    pairs = _compare(kind, size, training, "float64", rtol=1e-9)
    for layer, module in pairs:
        if isinstance(module, nn.BatchNorm2d):
            _, _, mean, variance = layer.get_weights()
            np.testing.assert_allclose(mean, module.running_mean, rtol=1e-7)
            np.testing.assert_allclose(variance, module.running_var, rtol=1e-7)


@pytest.mark.parametrize("kind", ["resnet20", "wrn_16_2"])
@pytest.mark.parametrize("training", [False, True])
def test_same_outputs_in_float32(kind, training):
    _compare(kind, (32, 32), training, "float32", rtol=1e-4)
