"""Depths of weights follow the net from its class layers back to the image, in nets of every kind."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from components.model.classifiers import class_layers
from components.model.layer_rates import block_of, depths_in, stage_at, thaw
from components.model.zoo import build
from components.params import Thaw
from tests.training import PARAMS


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("layer4.1.conv2.weight", "layer4.1"),
        ("features.3.block.0.0.bias", "features.3"),
        ("features.1.0.attn.qkv.weight", "features.1.0"),
        ("encoder.layers.encoder_layer_11.mlp.0.weight", "encoder.layers.encoder_layer_11"),
        ("blocks.7.norm1.weight", "blocks.7"),
        ("inception4a.branch1.conv.weight", "inception4a"),
        ("class_token", "class_token"),
    ],
)
def test_a_block_is_what_the_net_repeats(name: str, block: str):
    assert block_of(name) == block


@pytest.mark.parametrize(
    ("arch", "blocks"), [("resnet18", 9), ("mobilenet_v3_small", 14), ("vgg11", 10), ("resnet9", 7)]
)
def test_the_head_is_at_depth_0_and_blocks_count_back_to_the_stem(arch: str, blocks: int):
    net = build("classifier", arch, 5, "none")
    depths = depths_in(net, class_layers(net))
    order = [depth for name, depth in depths.items() if depth]
    assert order == sorted(order, reverse=True)
    assert set(order) == set(range(1, max(order) + 1))
    assert max(order) == blocks
    head = [name for name, weight in net.named_parameters() if depths[name] == 0]
    assert all(len(net.get_parameter(name)) == 5 for name in head)


def test_normalisation_has_the_depth_of_its_convolution():
    net = build("classifier", "resnet18", 5, "none")
    depths = depths_in(net, class_layers(net))
    assert depths["bn1.weight"] == depths["conv1.weight"] == 9
    assert depths["layer4.1.conv1.weight"] == 1


def test_stages_thaw_block_by_block():
    stages = (Thaw(epoch=2, blocks=2, rate=0.1), Thaw(epoch=4, blocks=100, rate=0.01))
    params = replace(PARAMS, unfreeze=stages)
    assert [stage_at(epoch, params) for epoch in (1, 2, 3, 4, 9)] == [
        (0, 1.0),
        (2, 0.1),
        (2, 0.1),
        (100, 0.01),
        (100, 0.01),
    ]
    assert [stage_at(epoch, replace(PARAMS, freeze_epochs=2))[0] for epoch in (2, 3)] == [0, pytest.approx(1e6)]


def test_what_is_frozen_neither_learns_nor_counts():
    net = build("classifier", "resnet18", 5, "none")
    depths = depths_in(net, class_layers(net))
    learning = []
    for blocks in (0, 2, 100):
        thaw(net, depths, blocks)
        learning.append({name for name, weight in net.named_parameters() if weight.requires_grad})
        assert net.layer4[1].bn1.training == (blocks > 0)
        assert net.layer1[0].bn1.training == (blocks == 100)
    assert learning[0] == {"fc.weight", "fc.bias"}
    assert learning[1] == {name for name in depths if name.startswith(("layer4", "fc"))}
    assert all(fewer < more for fewer, more in pairwise(learning))
