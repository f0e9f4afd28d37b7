"""Oracle: the safetensors library's own reader and writer."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lexiscope.core.disk import FileEntry
from lexiscope.core.errors import ArtifactError
from lexiscope.harvest.tensorfile import TensorWriter, map_tensor

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int32]


def random_bits(shape, dtype, seed):
    """Any bit patterns, NaN and infinities included."""
    raw = torch.randint(0, 256, (math.prod(shape) * dtype.itemsize,), generator=torch.Generator().manual_seed(seed))
    return raw.to(torch.uint8).view(dtype).view(shape)


def same_bits(one, other):
    same_kind = one.dtype == other.dtype and one.shape == other.shape
    return same_kind and torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any),
    width=st.integers(1, 33),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
)
def test_rows_written_in_parts_are_read_by_safetensors_and_by_the_map(tmp_path_factory, parts, width, dtype, seed):
    x_TD = random_bits((sum(parts), width), dtype, seed)
    path = tmp_path_factory.mktemp("files") / "x.safetensors"
    writer = TensorWriter(path, "x", dtype, (width,))
    for part in x_TD.split(parts):
        writer.append(part)
    writer.finish()
    assert same_bits(load_file(path)["x"], x_TD)
    assert same_bits(map_tensor(path, "x"), x_TD)


def test_a_writer_that_goes_on_says_how_many_rows_there_are_even_if_the_file_was_finished_before(tmp_path):
    path, x_TD = tmp_path / "x.safetensors", torch.randn(5, 3)
    writer = TensorWriter(path, "x", torch.float32, (3,), expected_rows=5)
    writer.append(x_TD[:2])
    position = writer.position()
    writer.append(x_TD[2:4])
    writer.finish()
    writer = TensorWriter(path, "x", torch.float32, (3,), expected_rows=5, after=position)
    writer.append(x_TD[2:])
    assert writer.finish() == FileEntry.of(path)
    assert same_bits(load_file(path)["x"], x_TD)


def test_a_file_by_the_library_is_read_by_the_map(tmp_path):
    x_TD = torch.randn(7, 3).to(torch.bfloat16)
    save_file({"other": torch.ones(5), "x": x_TD}, tmp_path / "x.safetensors")
    assert same_bits(map_tensor(tmp_path / "x.safetensors", "x"), x_TD)


def test_writing_to_the_map_never_reaches_the_disk(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(4)}, path)
    map_tensor(path, "x").zero_()
    assert load_file(path)["x"].sum() == 4


@settings(max_examples=80, deadline=None)
@given(keep=st.integers(0, 400), position=st.integers(0, 255), value=st.integers(0, 255))
def test_a_damaged_file_gives_its_name_or_a_tensor_but_never_another_error(tmp_path_factory, keep, position, value):
    path = tmp_path_factory.mktemp("files") / "damaged.safetensors"
    writer = TensorWriter(path, "x", torch.float32, (3,))
    writer.append(torch.ones(12, 3))
    writer.finish()
    data = bytearray(path.read_bytes())
    data[position] = value
    path.write_bytes(data[:keep])
    try:
        tensor = map_tensor(path, "x")
    except ArtifactError as error:
        assert "damaged.safetensors" in str(error)
    else:
        assert tensor.numel() * tensor.element_size() <= keep


def test_a_missing_file_or_tensor_gives_its_name(tmp_path):
    with pytest.raises(ArtifactError, match=r"nothing\.safetensors"):
        map_tensor(tmp_path / "nothing.safetensors", "x")
    save_file({"x": torch.ones(4)}, tmp_path / "x.safetensors")
    with pytest.raises(ArtifactError, match=r"x\.safetensors.*'y'"):
        map_tensor(tmp_path / "x.safetensors", "y")


@pytest.mark.parametrize(
    "entry",
    [
        '{"dtype":"F32","shape":[Infinity],"data_offsets":[0,4]}',
        '{"dtype":"F32","shape":[-1,-4],"data_offsets":[0,16]}',
        '{"dtype":"F32","shape":[4],"data_offsets":[8,24]}',
        '{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}',
        '{"dtype":"os.system","shape":[4],"data_offsets":[0,16]}',
        '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}',
        "null",
        "[]",
        "[" * 5000,
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, entry):
    header = f'{{"x":{entry}}}'.encode()
    (tmp_path / "lying.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(ArtifactError, match=r"lying\.safetensors is damaged"):
        map_tensor(tmp_path / "lying.safetensors", "x")
