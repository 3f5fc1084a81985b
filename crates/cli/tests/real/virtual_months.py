"""Months of an ocean model, one NetCDF4 file each, as one virtual Zarr v2 store that grows: what to commit each month.

usage: virtual_months.py OUT FILE.nc…
writes, for the n-th file, OUT/n.ndjson (the lines for `firn apply`) and OUT/n/KEY (the bytes of each chunk, as HDF5 reads them),
and prints, for each file, one JSON object {"file", "refs", "bytes"}: what points into it once all are committed
needs: h5py, numpy
"""
import json
import pathlib
import sys

import h5py

from zarr_tree import attributes, dimensions, variables


def metadata(file, node, months):
    shape = (months, *node.shape[1:]) if grows(node) else node.shape
    zlib = {"id": "zlib", "level": node.compression_opts} if node.compression == "gzip" else None
    filters = [{"id": "shuffle", "elementsize": node.dtype.itemsize}] if node.shuffle else None
    assert node.compression in (None, "gzip") and not node.fletcher32, node
    return {"zarr_format": 2, "shape": shape, "chunks": node.chunks or node.shape, "dtype": node.dtype.str, "compressor": zlib,
            "filters": filters, "fill_value": None, "order": "C", "dimension_separator": "."}


def grows(node):
    return bool(node.maxshape) and node.maxshape[0] is None


def chunks(name, node, month):
    """(key, offset, bytes) of every chunk; a contiguous variable is one."""
    if node.chunks is None:
        offset = node.id.get_offset()
        if offset is not None:
            yield f"{name}/{'.'.join('0' * max(1, node.ndim))}", offset, node[()].tobytes()
        return
    for i in range(node.id.get_num_chunks()):
        info = node.id.get_chunk_info(i)
        mask, data = node.id.read_direct_chunk(info.chunk_offset)
        assert mask == info.filter_mask == 0 and len(data) == info.size
        at = [start // length for start, length in zip(info.chunk_offset, node.chunks)]
        if grows(node):
            at[0] += month
        yield f"{name}/{'.'.join(map(str, at))}", info.byte_offset, data


def main(out, *paths):
    for month, path in enumerate(paths):
        lines, refs, total = [], 0, 0

        def text(key, document):
            lines.append({"op": "put", "key": key, "text": json.dumps(document)})

        with h5py.File(path) as file:
            if month == 0:
                text(".zgroup", {"zarr_format": 2})
            text(".zattrs", attributes(file))
            for name, node in variables(file):
                if month and not grows(node):
                    continue
                text(f"{name}/.zarray", metadata(file, node, month + 1))
                text(f"{name}/.zattrs", {**attributes(node), "_ARRAY_DIMENSIONS": dimensions(file, node)})
                for key, offset, data in chunks(name, node, month):
                    lines.append({"op": "virtual", "key": key, "url": f"file://{path}", "offset": offset, "length": len(data)})
                    want = pathlib.Path(out, str(month), key)
                    want.parent.mkdir(parents=True, exist_ok=True)
                    want.write_bytes(data)
                    refs, total = refs + 1, total + len(data)
        pathlib.Path(out, f"{month}.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
        print(json.dumps({"file": path, "refs": refs, "bytes": total}))


if __name__ == "__main__":
    main(*sys.argv[1:])
