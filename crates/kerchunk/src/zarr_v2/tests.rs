use serde_json::{Value, json};

use super::*;

/// A Zarr v3 array of 10 x 20 in chunks of 5 x 5, changed.
fn array(change: impl FnOnce(&mut Value)) -> Value {
    let mut document = json!({
        "zarr_format": 3, "node_type": "array", "shape": [10, 20], "data_type": "int32",
        "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": [5, 5] } },
        "chunk_key_encoding": { "name": "default", "configuration": { "separator": "/" } },
        "fill_value": 0, "codecs": [{ "name": "bytes", "configuration": { "endian": "little" } }]
    });
    change(&mut document);
    document
}

fn converted(document: &Value) -> ConvertedArray {
    match convert(document.to_string().as_bytes()).unwrap_or_else(|e| panic!("{document}: {e}")) {
        ConvertedNode::Array(array) => *array,
        ConvertedNode::Group(_) => panic!("{document} is a group"),
    }
}

/// The documents of an array of which some chunks are absent.
fn sparse(document: &Value) -> (Value, Value) {
    let documents = converted(document).documents(false).unwrap();
    let parsed = |text: &str| serde_json::from_str(text).unwrap();
    (parsed(&documents.zarray), documents.zattrs.as_deref().map_or(Value::Null, parsed))
}

fn refused(document: &Value) -> String {
    let error = convert(document.to_string().as_bytes()).map(|_| ()).expect_err(&document.to_string());
    assert!(matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Invalid), "{error:?}");
    error.to_string()
}

#[test]
fn an_array_is_written_as_zarr_python_writes_it() {
    let documents = converted(&array(|d| {
        d["dimension_names"] = json!(["y", "x"]);
        d["attributes"] = json!({ "units": "K" });
        d["codecs"] =
            json!([{ "name": "bytes", "configuration": { "endian": "big" } }, { "name": "zstd", "configuration": { "level": 3 } }]);
    }))
    .documents(true)
    .unwrap();
    assert_eq!(
        documents.zarray,
        r#"{"shape":[10,20],"chunks":[5,5],"dtype":">i4","fill_value":null,"order":"C","filters":null,"compressor":{"id":"zstd","level":3},"zarr_format":2}"#
    );
    assert_eq!(documents.zattrs.as_deref(), Some(r#"{"units":"K","_ARRAY_DIMENSIONS":["y","x"]}"#));
    assert_eq!(documents.note, None);
}

/// Attributes went through a type with 64-bit numbers and sorted names once.
#[test]
fn attributes_keep_their_order_and_their_spelling() {
    let text = r#"{"zarr_format":3,"node_type":"group","attributes":{"z":1.50,"a":123456789012345678901234567890,"m":{"b":1e2,"a":0}}}"#;
    let ConvertedNode::Group(attributes) = convert(text.as_bytes()).unwrap() else { panic!() };
    assert_eq!(super::text(&attributes).unwrap(), r#"{"z":1.50,"a":123456789012345678901234567890,"m":{"b":1e2,"a":0}}"#);
}

#[test]
fn data_types_and_their_fill_values() {
    let named = |name: &str, configuration: Value| json!({ "name": name, "configuration": configuration });
    let cases = [
        (json!("bool"), json!(true), "|b1", json!(true)),
        (json!("int8"), json!(-1), "|i1", json!(-1)),
        (json!("uint64"), json!(u64::MAX), "<u8", json!(u64::MAX)),
        (json!("float16"), json!("0x3c00"), "<f2", json!(1.0)),
        (json!("float32"), json!("0x7fc00000"), "<f4", json!("NaN")),
        (json!("float32"), json!("-Infinity"), "<f4", json!("-Infinity")),
        (json!("float64"), json!("0xfff0000000000000"), "<f8", json!("-Infinity")),
        (json!({ "name": "float64" }), json!(1.5), "<f8", json!(1.5)),
        (json!("complex64"), json!([1, "NaN"]), "<c8", json!([1, "NaN"])),
        (json!("complex128"), json!(["0x3ff0000000000000", 0.0]), "<c16", json!([1.0, 0.0])),
        (json!("r16"), json!([1, 255]), "|V2", json!("Af8=")),
        (named("raw_bytes", json!({ "length_bytes": 2 })), json!("Af8="), "|V2", json!("Af8=")),
        (named("null_terminated_bytes", json!({ "length_bytes": 3 })), json!(""), "|S3", json!("")),
        (named("fixed_length_utf32", json!({ "length_bytes": 20 })), json!("é"), "<U5", json!("é")),
        (named("numpy.datetime64", json!({ "unit": "ns", "scale_factor": 1 })), json!("NaT"), "<M8[ns]", json!(i64::MIN)),
        (named("numpy.timedelta64", json!({ "unit": "s", "scale_factor": 10 })), json!(5), "<m8[10s]", json!(5)),
        (named("numpy.datetime64", json!({ "unit": "generic", "scale_factor": 1 })), json!(0), "<M8", json!(0)),
    ];
    for (data_type, fill, dtype, fill_v2) in cases {
        let (zarray, _) = sparse(&array(|d| {
            d["data_type"] = data_type.clone();
            d["fill_value"] = fill;
        }));
        assert_eq!((&zarray["dtype"], &zarray["fill_value"]), (&json!(dtype), &fill_v2), "{data_type}");
    }
    for (data_type, codec, fill) in [("string", "vlen-utf8", "x"), ("variable_length_bytes", "vlen-bytes", "AA==")] {
        let (zarray, _) = sparse(&array(|d| {
            d["data_type"] = json!(data_type);
            d["fill_value"] = json!(fill);
            d["codecs"] = json!([codec, { "name": "zstd", "configuration": { "level": 0, "checksum": false } }]);
        }));
        assert_eq!((&zarray["dtype"], &zarray["fill_value"]), (&json!("|O"), &json!(fill)));
        assert_eq!((&zarray["filters"], &zarray["compressor"]), (&json!([{ "id": codec }]), &json!({ "id": "zstd", "level": 0 })));
    }
    for (data_type, fill) in [
        ("int32", json!(1.5)),
        ("int32", json!("NaN")),
        ("int32", Value::Null),
        ("bool", json!(0)),
        ("float32", json!("nan")),
        ("float32", json!("0x7fc0")),
        ("complex64", json!(1)),
        ("r16", json!([1])),
        ("r16", json!([1, 256])),
    ] {
        let why = refused(&array(|d| {
            d["data_type"] = json!(data_type);
            d["fill_value"] = fill.clone();
        }));
        assert!(why.contains("fill_value"), "{data_type} {fill}: {why}");
    }
}

#[test]
fn codecs_become_filters_and_a_compressor() {
    let bytes = json!({ "name": "bytes", "configuration": { "endian": "little" } });
    let transposed = |order: Value| json!({ "name": "transpose", "configuration": { "order": order } });
    let numcodec = |name: &str, configuration: Value| json!({ "name": format!("numcodecs.{name}"), "configuration": configuration });
    let cases = [
        (json!([bytes]), "C", Value::Null, Value::Null),
        (json!([transposed(json!([0, 1])), bytes]), "C", Value::Null, Value::Null),
        (json!([transposed(json!([1, 0])), bytes]), "F", Value::Null, Value::Null),
        (json!([bytes, { "name": "gzip", "configuration": { "level": 5 } }]), "C", Value::Null, json!({ "id": "gzip", "level": 5 })),
        (
            json!([bytes, { "name": "zstd", "configuration": { "level": 3, "checksum": true } }, "crc32c"]),
            "C",
            json!([{ "id": "zstd", "level": 3, "checksum": true }]),
            json!({ "id": "crc32c", "location": "end" }),
        ),
        (
            json!([bytes, { "name": "blosc", "configuration": { "cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "typesize": 4, "blocksize": 0 } }]),
            "C",
            Value::Null,
            json!({ "id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 2, "blocksize": 0 }),
        ),
        (
            json!([bytes, numcodec("shuffle", json!({ "elementsize": 4 })), numcodec("zlib", json!({ "level": 4 }))]),
            "C",
            json!([{ "id": "shuffle", "elementsize": 4 }]),
            json!({ "id": "zlib", "level": 4 }),
        ),
        (
            json!([numcodec("delta", json!({ "dtype": "<i4", "astype": "<i4" })), bytes]),
            "C",
            json!([{ "id": "delta", "dtype": "<i4", "astype": "<i4" }]),
            Value::Null,
        ),
        (json!([numcodec("pcodec", json!({ "level": 8 }))]), "C", Value::Null, json!({ "id": "pcodec", "level": 8 })),
    ];
    for (codecs, order, filters, compressor) in cases {
        let (zarray, _) = sparse(&array(|d| d["codecs"] = codecs.clone()));
        assert_eq!((&zarray["order"], &zarray["filters"], &zarray["compressor"]), (&json!(order), &filters, &compressor), "{codecs}");
        assert_eq!(zarray["dtype"], "<i4");
    }
}

#[test]
fn what_zarr_v2_cannot_express_is_refused_with_the_reason() {
    let bytes = json!({ "name": "bytes", "configuration": { "endian": "little" } });
    let big = json!({ "name": "bytes", "configuration": { "endian": "big" } });
    let delta = json!({ "name": "numcodecs.delta", "configuration": { "dtype": "<i4" } });
    let codecs = |codecs: Value| array(|d| d["codecs"] = codecs);
    let cases = [
        (codecs(json!([{ "name": "sharding_indexed", "configuration": { "chunk_shape": [1, 1], "codecs": ["bytes"] } }])), "shards"),
        (codecs(json!([bytes, "zfp"])), r#""zfp" is not known"#),
        (codecs(json!([bytes, "numcodecs.invented"])), "numcodecs.invented"),
        (codecs(json!([bytes, { "name": "gzip", "configuration": { "level": 5, "speed": 1 } }])), r#""speed""#),
        (codecs(json!([{ "name": "gzip", "configuration": { "level": 5 } }, bytes])), "wrong place"),
        (codecs(json!([bytes, bytes])), "wrong place"),
        (codecs(json!([bytes, delta])), "wrong place"),
        (codecs(json!([])), "make no bytes"),
        (codecs(json!([delta, big])), "big-endian"),
        (codecs(json!([delta, { "name": "transpose", "configuration": { "order": [1, 0] } }, bytes])), "transpose"),
        (codecs(json!([{ "name": "transpose", "configuration": { "order": [0, 0] } }, bytes])), "transpose"),
        (codecs(json!([{ "name": "bytes", "configuration": { "endian": "middle" } }])), "endian"),
        (array(|d| d["data_type"] = json!("bfloat16")), "bfloat16"),
        (array(|d| d["data_type"] = json!({ "name": "structured", "configuration": { "fields": [] } })), "structured"),
        (array(|d| d["data_type"] = json!("string")), r#""bytes""#),
        (array(|d| d["chunk_grid"] = json!({ "name": "rectilinear", "configuration": {} })), "rectilinear"),
        (array(|d| d["chunk_grid"]["configuration"]["chunk_shape"] = json!([5])), "dimensions"),
        (array(|d| d["chunk_grid"]["configuration"]["chunk_shape"] = json!([5, 0])), "length 0"),
        (array(|d| d["chunk_key_encoding"] = json!("fancy")), "fancy"),
        (array(|d| d["storage_transformers"] = json!([{ "name": "t" }])), "storage transformers"),
        (array(|d| d["invented"] = json!({ "name": "x" })), r#""invented""#),
        (array(|d| d["shape"] = json!([-1, 2])), r#""shape""#),
        (array(|d| d["node_type"] = json!("table")), "node_type"),
        (array(|d| d["zarr_format"] = json!(2)), "zarr_format"),
        (json!([]), "no JSON object"),
    ];
    for (document, why) in cases {
        let said = refused(&document);
        assert!(said.contains(why), "{document}\n{said}");
    }
    assert!(convert(br#"{"zarr_format":3,"node_type":"group","node_type":"array"}"#).is_err(), "a field twice");
    let optional = array(|d| d["invented"] = json!({ "name": "x", "must_understand": false }));
    assert!(convert(optional.to_string().as_bytes()).is_ok());
    let consolidated = json!({ "zarr_format": 3, "node_type": "group", "consolidated_metadata": { "kind": "inline", "metadata": {} } });
    assert!(convert(consolidated.to_string().as_bytes()).is_ok());
}

/// The fill value of v2 is what xarray masks; of v3 it masks the attribute, and floating-point numbers are base64 there.
#[test]
fn what_xarray_masks_stays_what_it_masks() {
    let float = |fill: Value, attribute: Option<&str>| {
        array(|d| {
            d["data_type"] = json!("float32");
            d["fill_value"] = fill;
            d["attributes"] = attribute.map_or(json!({}), |text| json!({ "_FillValue": text }));
        })
    };
    // -9999 and NaN as xarray writes them.
    let (missing, nan) = ("AAAAAICHw8A=", "AAAAAAAA+H8=");
    let told = |document: &Value, is_complete| {
        let documents = converted(document).documents(is_complete).unwrap();
        let zarray: Value = serde_json::from_str(&documents.zarray).unwrap();
        (zarray["fill_value"].clone(), documents.zattrs.is_some_and(|text| text.contains("_FillValue")), documents.note.is_some())
    };
    for (document, is_complete, expected) in [
        (float(json!(-9999.0), Some(missing)), false, (json!(-9999.0), false, false)),
        (float(json!(0.0), Some(missing)), true, (json!(-9999.0), false, false)),
        (float(json!(0.0), Some(missing)), false, (json!(0.0), true, true)),
        (float(json!("NaN"), Some(missing)), false, (json!(-9999.0), false, false)),
        (float(json!("NaN"), Some(nan)), false, (json!("NaN"), false, false)),
        (float(json!("NaN"), None), false, (json!("NaN"), false, false)),
        (float(json!(0.0), None), true, (Value::Null, false, false)),
        (float(json!(0.0), None), false, (json!(0.0), false, true)),
        (float(json!(0.0), Some("what?")), true, (Value::Null, true, false)),
        (float(json!(0.0), Some("what?")), false, (json!(0.0), true, true)),
        (array(|d| d["attributes"] = json!({ "_FillValue": 0 })), false, (json!(0), false, false)),
        (array(|d| d["attributes"] = json!({ "_FillValue": 7 })), true, (json!(7), false, false)),
    ] {
        assert_eq!(told(&document, is_complete), expected, "{document} {is_complete}");
    }
    // Of complex numbers both parts.
    let complex = |fill: Value, attribute: Value| {
        array(|d| {
            d["data_type"] = json!("complex64");
            d["fill_value"] = fill;
            d["attributes"] = json!({ "_FillValue": attribute });
        })
    };
    let masked = json!([missing, nan]);
    assert_eq!(told(&complex(json!([0, 0]), masked.clone()), true), (json!([-9999.0, "NaN"]), false, false));
    assert_eq!(told(&complex(json!([-9999, "NaN"]), masked.clone()), false), (json!([-9999.0, "NaN"]), false, false));
    assert_eq!(told(&complex(json!([-9999, 0]), masked), false), (json!([-9999, 0]), true, true));
    assert_eq!(told(&complex(json!([0, 0]), json!([missing])), true), (Value::Null, true, false));
    // 9.96921e36 as a 32-bit number, written with different numbers of digits.
    let long = data_encoding::BASE64.encode(&9.969_209_968_386_869e36_f64.to_le_bytes());
    assert!(!told(&float(json!(9.96921e36), Some(&long)), false).2);
}

#[test]
fn dimensions_are_named_by_an_attribute() {
    let attributes = |names: Value| sparse(&array(|d| d["dimension_names"] = names)).1;
    assert_eq!(attributes(json!(["y", "x"])), json!({ "_ARRAY_DIMENSIONS": ["y", "x"] }));
    assert_eq!(attributes(json!([null, "x"])), Value::Null);
    assert_eq!(attributes(Value::Null), Value::Null);
    let scalar = array(|d| {
        d["shape"] = json!([]);
        d["chunk_grid"]["configuration"]["chunk_shape"] = json!([]);
    });
    assert_eq!(sparse(&scalar).1, json!({ "_ARRAY_DIMENSIONS": [] }));
}

#[test]
fn names_of_chunks() {
    let keys = |encoding: Value, separator: Value| {
        let configuration = if separator.is_null() { json!({}) } else { json!({ "separator": separator }) };
        converted(&array(|d| d["chunk_key_encoding"] = json!({ "name": encoding, "configuration": configuration }))).keys
    };
    let (usual, dotted) = (keys(json!("default"), Value::Null), keys(json!("default"), json!(".")));
    let (old, slashed) = (keys(json!("v2"), Value::Null), keys(json!("v2"), json!("/")));
    for (keys, name) in [(usual, "c/1/20"), (dotted, "c.1.20"), (old, "1.20"), (slashed, "1/20")] {
        assert_eq!(keys.indices(name, 2), Some(vec![1, 20]), "{name}");
        for wrong in [usual, dotted, old, slashed] {
            assert_eq!(wrong.indices(name, 2).is_some(), wrong == keys, "{name}");
        }
    }
    assert_eq!((usual.indices("c", 0), old.indices("0", 0)), (Some(vec![]), Some(vec![])));
    for bad in ["c", "c/", "c/1", "c/1/2/3", "c/01/2", "c/-1/2", "c/1/x", "c/1//2", "c/1/99999999999999999999", "1/2", "c/+1/2", "d/1/2"] {
        assert_eq!(usual.indices(bad, 2), None, "{bad}");
    }
    assert_eq!((name_v2(&[]), name_v2(&[1, 20])), ("0".to_owned(), "1.20".to_owned()));
}

#[test]
fn chunks_are_counted_row_by_row() {
    let grid = RegularGrid::new(&[10, 21], &[5, 5]).unwrap();
    assert_eq!((grid.total(), grid.number(&[0, 0]), grid.number(&[1, 4])), (Some(10), Some(0), Some(9)));
    assert_eq!((grid.number(&[2, 0]), grid.number(&[0, 5]), grid.number(&[0])), (None, None, None));
    assert_eq!((RegularGrid::new(&[], &[]).unwrap().total(), RegularGrid::new(&[0, 3], &[1, 1]).unwrap().total()), (Some(1), Some(0)));
    let mut indices = grid.indices(0);
    for number in 0..10 {
        assert_eq!((grid.number(&indices), &grid.indices(number)), (Some(number), &indices));
        grid.step(&mut indices);
    }
    assert_eq!(indices, [0, 0]);
    let huge = RegularGrid::new(&[u64::MAX, u64::MAX], &[1, 1]).unwrap();
    assert_eq!((huge.total(), huge.number(&[0, 5]), huge.number(&[7, 0])), (None, Some(5), None));
}

proptest::proptest! {
    /// Bytes of any kind, and a document with one value exchanged, end in a conversion or an error.
    #[test]
    fn any_document_is_converted_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), at in 0_usize..12, value in 0_usize..12) {
        let _ = convert(&bytes);
        let values = [json!(null), json!(0), json!(-1), json!(u64::MAX), json!(1.5), json!(""), json!("r0"), json!([]), json!([[]]), json!({}), json!({ "name": "bytes" }), json!([u64::MAX, 0])];
        let fields = ["zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs", "attributes", "dimension_names", "storage_transformers", "x"];
        let document = array(|d| d[fields[at]] = values[value].clone());
        if let Ok(ConvertedNode::Array(array)) = convert(document.to_string().as_bytes()) {
            let _ = (array.documents(true), array.documents(false), array.grid.total());
        }
    }
}
