"""Computes the ids of the golden values (`samples.rs`) with an independent implementation of format v1: a module `format_v1`
in the folder given as the first argument. Prints one CID a line, in the order in which `golden.rs` compares them."""
import hashlib, sys

sys.path.insert(0, sys.argv[1])
import format_v1 as f

def sha(text): return hashlib.sha256(text.encode()).digest()
def raw(seed): return b"\x01\x55\x12\x20" + sha(seed)
def dag_pb(seed): return b"\x01\x70\x12\x20" + sha(seed)
def node(seed): return b"\x01\x71\x12\x20" + sha(seed)
def block(data): return f.cid(0x71, data)

a, b, era5 = ("nemo", ("a.nc",)), ("nemo", ("b.nc",)), ("era5", ())
manifest = [
    (".zgroup", b'{"zarr_format": 2}'),
    ("air/c/0/0", ("chunk", raw("one"), 4097)),
    ("air/c/0/1", ("chunk", dag_pb("two"), 3 << 20)),
    ("sst/c/9", ("virtual", b, 5000, 100)),
    ("sst/c/10", ("virtual", a, 200, 300)),
    ("sst/c/11", ("virtual", a, 500, 300)),
    ("sst/c/12", ("virtual", b, 0, 4)),
    ("sst/c/13", ("virtual", era5, 1 << 40, 0)),
    ("sst/zarr.json", b" " * 1025),
    ("ünïcode", b""),
]
assert manifest == sorted(manifest, key=lambda e: f.order(e[0]))
pinned = 1740830400000000
files = [
    ("era5", (None, None, None, None, None, pinned, 1, 0)),
    ("nemo\x1fa.nc", (1 << 33, -1, b"0123456789abcdef0123456789abcdef", "null", b"\x12\x20" + sha("a.nc"), pinned + 1, 930, 123456789)),
    ("nemo\x1fb.nc", (0, None, b"0123456789ABCDEF0123456789abcdef", None, None, pinned, 1, 0)),
]
history = [("0", (node("root"), "")), ("1740830400000000", (node("first"), "Import température")), ("1740830400000001", (node("second"), "x"))]
branch = f.cbor([2, [["9", f.Link(node("9")), 930, 1 << 35], ["10", f.Link(node("10")), 1, 0], ["100", f.Link(node("100")), 70000, 255]]])

ids = [block(f.leaf("manifest", manifest)), block(f.leaf("files", files)), block(f.leaf("history", history)), block(branch),
       f.root("manifest", [])[0], f.root("files", [])[0]]
containers = [
    {"name": "era5", "template": "s3://era5/all.nc", "defaults": {}, "options": {}},
    {"name": "nemo", "template": "https://{host}/nemo/{}", "defaults": {"host": "data.example.org"},
     "options": {"region": "eu-west-1", "anonymous": "true", "endpoint": "https://s3.example.org"}},
]
ids.append(f.commit(ids[0], ids[1], ids[2], [node("second"), node("other")], containers, ["https://{host}/nemo/{}", "s3://era5/all.nc"],
                    pinned + 2, "Import température\n\nwith all its chunks", "Ada <ada@example.org>", {"b": "2", "aa": "1", "a": "3"}, pinned))
ids.append(f.commit(ids[4], ids[5], ids[5], [], [], [], pinned, ""))
for cid in ids: print(f.text(cid))
