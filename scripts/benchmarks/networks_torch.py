"""The opponent: Feature Fusion Learning in PyTorch's standard layers."""

import torch
from torch import nn
from torch.nn import functional


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, activation after the sum."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.shortcut = nn.Identity()
        if stride != 1 or channels != filters:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, filters, 1, stride, bias=False),
                nn.BatchNorm2d(filters),
            )

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return functional.relu(y + self.shortcut(x), inplace=True)


class WideBlock(nn.Module):
    """The block of wide ResNets: batch norm and activation come first."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.shortcut = None
        if stride != 1 or channels != filters:
            self.shortcut = nn.Conv2d(channels, filters, 1, stride, bias=False)

    def forward(self, x):
        y = functional.relu(self.bn1(x), inplace=True)
        added = x if self.shortcut is None else self.shortcut(y)
        y = functional.relu(self.bn2(self.conv1(y)), inplace=True)
        return self.conv2(y) + added


def _stage(block, channels, filters, count, stride):
    blocks = [block(channels, filters, stride)]
    blocks += [block(filters, filters, 1) for _ in range(count - 1)]
    return nn.Sequential(*blocks)


def _normalized(channels):
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def _parts(name):
    """Stem and stages of a network, and the channels of its feature map."""
    if name == "imagenet_resnet18":
        stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            _normalized(64),
            nn.MaxPool2d(3, 2, 1),
        )
        block, widths, count, channels = BasicBlock, (64, 128, 256, 512), 2, 64
    elif name.startswith("wrn_"):
        depth, factor = map(int, name.split("_")[1:])
        stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        block, channels, count = WideBlock, 16, (depth - 4) // 6
        widths = tuple(factor * width for width in (16, 32, 64))
    else:
        count = (int(name.removeprefix("resnet")) - 2) // 6
        stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 1, 1, bias=False), _normalized(16)
        )
        block, widths, channels = BasicBlock, (16, 32, 64), 16
    stages = []
    for index, filters in enumerate(widths):
        stage = _stage(block, channels, filters, count, 2 if index else 1)
        channels = filters
        stages.append(stage)
    if block is WideBlock:
        stages[-1].append(_normalized(channels))
    return stem, stages, channels


class Network(nn.Module):
    """The layers after a feature map: last stages and a classifier."""

    def __init__(self, stages, channels, classes):
        super().__init__()
        self.stages = nn.Sequential(*stages)
        self.channels = channels
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x):
        features = self.stages(x)
        return features, self.classifier(features.mean((2, 3)))


class FusionModule(nn.Module):
    """Depthwise and pointwise convolution over the feature maps."""

    def __init__(self, widths, classes, wide):
        super().__init__()
        channels, filters = sum(widths), sum(widths) if wide else min(widths)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False),
            _normalized(channels),
            nn.Conv2d(channels, filters, 1, bias=False),
            _normalized(filters),
        )
        self.classifier = nn.Linear(filters, classes)

    def forward(self, maps):
        return self.classifier(self.layers(torch.cat(maps, 1)).mean((2, 3)))


class FeatureFusion(nn.Module):
    """Networks with or without a shared trunk, and the fused classifier."""

    def __init__(self, names, separate_stages, classes):
        super().__init__()
        stem, stages, _ = _parts(names[0])
        shared = len(stages) - separate_stages if separate_stages else 0
        self.trunk = nn.Sequential(stem, *stages[:shared]) if shared else None
        networks = []
        for name in names:
            stem, stages, channels = _parts(name)
            own = stages[shared:] if shared else [stem, *stages]
            networks.append(Network(own, channels, classes))
        self.networks = nn.ModuleList(networks)
        wide = names[0].startswith("imagenet")
        widths = [network.channels for network in networks]
        self.fusion = FusionModule(widths, classes, wide)

    def forward(self, x):
        if self.trunk is not None:
            x = self.trunk(x)
        maps, logits = zip(*(network(x) for network in self.networks))
        return self.fusion(maps), list(logits)


def _divergence(teacher, student, temperature=3.0):
    return temperature**2 * functional.kl_div(
        functional.log_softmax(student / temperature, 1),
        functional.log_softmax(teacher.detach() / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )


def loss_of(fused, logits, labels, weight):
    """The loss of the method; `weight` is the ramp-up's."""
    ensemble = sum(logits) / len(logits)
    supervised = functional.cross_entropy(fused, labels) + sum(
        functional.cross_entropy(each, labels) for each in logits
    )
    distilled = _divergence(ensemble, fused) + sum(
        _divergence(fused, each) for each in logits
    )
    return supervised + weight * distilled


def training_step(names, separate_stages, classes, image_size, batch, variant):
    """Returns a function that does one training step on a batch in memory.

    Args:
        names: List of the networks' names.
        separate_stages: Int, stages of each network; 0 for all.
        classes: Int.
        image_size: Int, side of the images.
        batch: Int.
        variant: "contiguous", "channels_last" or "compiled", which is
            channels_last too.

    Returns:
        Function without arguments.
    """
    torch.manual_seed(0)
    model = FeatureFusion(names, separate_stages, classes).train()
    images = torch.randn(batch, 3, image_size, image_size)
    labels = torch.randint(0, classes, (batch,))
    if variant != "contiguous":
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    fusion = [*model.fusion.parameters()]
    others = [p for name, p in model.named_parameters() if "fusion" not in name]
    optimizer = torch.optim.SGD(
        [
            {"params": others, "weight_decay": 1e-4},
            {"params": fusion, "weight_decay": 1e-5},
        ],
        lr=0.1,
        momentum=0.9,
        nesterov=True,
    )

    def loss():
        return loss_of(*model(images), labels, 0.5)

    forward = torch.compile(loss) if variant == "compiled" else loss

    def step():
        optimizer.zero_grad(set_to_none=True)
        forward().backward()
        optimizer.step()

    return step
