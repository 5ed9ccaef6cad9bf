"""What features add on the way from the root of a tree to a leaf: quick where Shapley's values are not.

Every node is worth the mean of its leaves by their numbers of rows, and the change from a node to the next one belongs
to the feature that the node asks for (Saabas 2014, "Interpreting random forests"). It costs a look-up per tree, where
the values of Lundberg et al. (2018) cost the product of leaves and squared depth; it favours features near the leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def path_tables(trees: list[Mapping[str, Any]], features: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each tree the features that it asks for, int64 (used,), the last one standing for the base, and what they add
    in each leaf, float64 (leaves, used). trees: as LightGBM dumps them."""
    return [_path_table(tree["tree_structure"], int(tree["num_leaves"]), features) for tree in trees]


def path_sums(tables: list[tuple[np.ndarray, np.ndarray]], leaves: np.ndarray, features: int) -> np.ndarray:
    """What features add over all trees, the base last: float64 (rows, features + 1). leaves: int (rows, trees)."""
    found = np.zeros((features + 1, len(leaves)))
    for (used, table), at in zip(tables, leaves.T, strict=True):
        for column, values in zip(used.tolist(), table.T, strict=True):
            found[column] += values[at]
    return found.T.copy()


def _path_table(root: Mapping[str, Any], leaves: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    nodes = _nodes(root)
    worth, count = np.zeros(len(nodes)), np.zeros(len(nodes))
    for i in range(len(nodes) - 1, -1, -1):
        node, left, right = nodes[i]
        if left < 0:
            worth[i], count[i] = node["leaf_value"], max(node.get("leaf_count", 1), 1)
        else:
            count[i] = count[left] + count[right]
            worth[i] = (worth[left] * count[left] + worth[right] * count[right]) / count[i]
    asked = sorted({int(node["split_feature"]) for node, left, _ in nodes if left >= 0})
    used = np.array([*asked, features], dtype=np.int64)
    told, table = np.zeros((len(nodes), len(used))), np.zeros((leaves, len(used)))
    told[0, -1] = worth[0]
    for i, (node, left, right) in enumerate(nodes):
        if left < 0:
            table[node.get("leaf_index", 0)] = told[i]
            continue
        for child in (left, right):
            told[child] = told[i]
            told[child, asked.index(int(node["split_feature"]))] += worth[child] - worth[i]
    return used, table


def _nodes(root: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], int, int]]:
    """All nodes, parents before children, each with the places of its children, -1 for a leaf."""
    nodes, found = [root], []
    for node in nodes:
        if "split_feature" not in node:
            found.append((node, -1, -1))
            continue
        found.append((node, len(nodes), len(nodes) + 1))
        nodes += [node["left_child"], node["right_child"]]
    return found
