"""The operators that find padding and documents when they run: against the words of their documentation."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smolfast import SmolfastError
from smolfast.ops import gqa_attention, packed_rows
from smolfast.ops.packed_rows import attend_rows, pack_rows


def sequences(packing: packed_rows.Packing, keys: bool = False) -> list[list[int]]:
    """The flat rows of each sequence that isn't empty."""
    rows, cu = (packing.rows_k, packing.cu_k) if keys else (packing.rows_q, packing.cu_q)
    starts = cu[: int(packing.sizes[0]) + 1].tolist()
    found = [rows[a:b].tolist() for a, b in pairwise(starts)]
    return [sequence for sequence in found if sequence]


@st.composite
def batches(draw: Any) -> tuple[list[list[bool]], list[list[int]]]:
    """Masks, and positions by document: of columns or of real tokens, which start again at 0 or at -3."""
    rows, length = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    real = [[draw(st.booleans()) for _ in range(length)] for _ in range(rows)]
    documents = []
    for row in range(rows):
        ids, document = [], 0
        for column in range(length):
            document += column > 0 and real[row][column] and draw(st.integers(0, 3)) == 0
            ids.append(document)
        documents.append(ids)
    return real, documents


@given(batches(), st.booleans(), st.sampled_from([0, 100]))
@settings(max_examples=60, deadline=None)
def test_each_document_holds_its_own_real_tokens(
    batch: tuple[list[list[bool]], list[list[int]]], of_columns: bool, offset: int
) -> None:
    real, documents = batch
    length = len(real[0])
    positions = torch.zeros(len(real), length, dtype=torch.long)
    for row, ids in enumerate(documents):
        for column in range(length):
            before = [c for c in range(column) if ids[c] == ids[column] and (of_columns or real[row][c])]
            # Two documents must differ in positions where the first's last token and the second's first are real.
            positions[row, column] = len(before) + offset - 50 * ids[column]
    packing = pack_rows(torch.tensor(real), positions, batch=len(real), queries=length, keys=length)
    expected = []
    for row, ids in enumerate(documents):
        for document in sorted(set(ids)):
            kept = [row * length + c for c in range(length) if ids[c] == document and real[row][c]]
            expected += [kept] if kept else []
    assert sequences(packing) == sequences(packing, keys=True) == expected
    assert packing.sizes[1:3].tolist() == [max(map(len, expected), default=0)] * 2
    assert packing.sizes[3:].tolist() == [sum(map(len, expected))] * 2


def arguments(dtype: torch.dtype = torch.float32, requires_grad: bool = True) -> tuple[Any, ...]:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 5, heads, 4, dtype=dtype).requires_grad_(requires_grad) for heads in (4, 2, 2))
    mask = torch.tensor([[True] * 5, [False, True, True, False, True]])
    positions = torch.tensor([[0, 1, 0, 1, 2], [0, 0, 1, 2, 3]])
    return q, k, v, pack_rows(mask, positions, batch=2, queries=5, keys=5)


def test_opcheck() -> None:
    checks = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    q, k, v, packing = arguments()
    options = (True, 0.5, -1, -1, 0.0)
    for sinks in (None, torch.randn(4, requires_grad=True)):
        torch.library.opcheck(packed_rows._attend, (q, k, v, *packing, sinks, *options), test_utils=checks)
    mask = torch.ones(2, 5, dtype=torch.bool)
    torch.library.opcheck(packed_rows._pack, (mask, torch.arange(5)[None], 2, 5, 5, True))
    q, k, v, packing = arguments(requires_grad=False)
    out, lse = packed_rows._attend(q, k, v, *packing, None, *options)
    torch.library.opcheck(
        packed_rows._attend_backward, (out, q, k, v, *packing, None, out, lse, *options), test_utils=checks
    )


def test_gradients_are_right_in_fp64() -> None:
    q, k, v, packing = arguments(torch.float64)
    sinks = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *x: attend_rows(*x[:3], packing, sinks=x[3], softcap=0.9, window_size=(2, 0)), (q, k, v, sinks)
    )


@pytest.mark.parametrize("mask", [torch.zeros(2, 5, dtype=torch.bool), torch.zeros(0, 5, dtype=torch.bool)])
def test_nothing_real_gives_zeros(mask: Tensor) -> None:
    q, k, v = (torch.randn(len(mask), 5, heads, 4, requires_grad=True) for heads in (4, 2, 2))
    packing = pack_rows(mask, torch.arange(5)[None], batch=len(mask), queries=5, keys=5)
    sinks = torch.randn(4, requires_grad=True)
    out = attend_rows(q, k, v, packing, sinks=sinks)
    gradients = torch.autograd.grad(out.sum(), (q, k, v, sinks))
    assert not any(x.any() for x in (out, *gradients))


def test_autocast_and_second_gradients() -> None:
    q, k, v, packing = arguments()
    with torch.autocast("cpu", torch.bfloat16):
        assert attend_rows(q, k, v, packing).dtype == torch.bfloat16
    out = attend_rows(q, k, v, packing)
    with pytest.raises(RuntimeError):
        (gradient,) = torch.autograd.grad(out.square().sum(), q, create_graph=True)
        gradient.sum().backward()


def test_masks_of_other_lengths_are_refused() -> None:
    for columns, message in ((6, "6 columns for 5 keys"), (2, "2 columns for 3 queries")):
        with pytest.raises(SmolfastError, match=message):
            pack_rows(torch.ones(1, columns, dtype=torch.bool), None, batch=1, queries=3, keys=5)


def test_longest_lengths_may_be_left_out() -> None:
    from smolfast.integrations.nanotron import attention_forward, flash_attn_varlen_func
    from smolfast.ops import gqa_attention_varlen

    q, k, v = (torch.randn(9, heads, 4) for heads in (4, 2, 2))
    cu = torch.tensor([0, 4, 4, 9], dtype=torch.int32)
    expected = gqa_attention_varlen(q, k, v, cu, cu, 5, 5)
    assert isinstance(expected, Tensor)
    assert torch.equal(gqa_attention_varlen(q, k, v, cu, cu), expected)
    assert torch.equal(gqa_attention_varlen(q, k, v, cu, cu, None, torch.tensor(5)), expected)
    assert torch.equal(flash_attn_varlen_func(q, k, v, cu, cu, None, None, causal=True), expected)
    empty = torch.zeros(1, dtype=torch.int32)
    assert gqa_attention_varlen(q[:0], k[:0], v[:0], empty, empty).shape == (0, 4, 4)
    whole, _ = attention_forward(torch.nn.Module(), q, k, v, None, 9)
    torch.testing.assert_close(whole, gqa_attention(q[None], k[None], v[None]))
    for rows in (None, 4):
        with pytest.raises(SmolfastError, match="give the length of a row"):
            attention_forward(torch.nn.Module(), q, k, v, None, rows)
