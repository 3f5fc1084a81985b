//! NetCDF files made by hand.

fn padded(text: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text.bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn number(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap().to_be_bytes()
}

/// A classic NetCDF file with `time(time)` and `v(time, x)`, 300 values in each record, the first of which are numbered from `start`.
pub(crate) fn netcdf(start: i32, records: usize) -> Vec<u8> {
    const WIDTH: usize = 300;
    let mut head = [b"CDF\x01".to_vec(), number(records).to_vec(), number(10).to_vec(), number(2).to_vec()].concat();
    head.extend([padded("time"), number(0).to_vec(), padded("x"), number(WIDTH).to_vec()].concat());
    // One attribute of the file.
    head.extend([number(12), number(1)].concat());
    head.extend([padded("title"), number(2).to_vec(), padded("two variables")].concat());
    head.extend([number(11), number(2)].concat());
    let variable = |name: &str, dims: &[usize], kind: usize, size: usize, begin: usize| {
        let dims: Vec<u8> = dims.iter().flat_map(|dim| number(*dim)).collect();
        [
            padded(name),
            number(dims.len() / 4).to_vec(),
            dims,
            vec![0; 8],
            number(kind).to_vec(),
            number(size).to_vec(),
            number(begin).to_vec(),
        ]
        .concat()
    };
    let variables = |begin: usize| [variable("time", &[0], 6, 8, begin), variable("v", &[0, 1], 4, 4 * WIDTH, begin + 8)].concat();
    let begin = head.len() + variables(0).len();
    head.extend(variables(begin));
    for n in 0..records {
        let at = start + i32::try_from(n).unwrap();
        head.extend(f64::from(at).to_be_bytes());
        (0..WIDTH).for_each(|x| head.extend((at * 1000 + i32::try_from(x).unwrap()).to_be_bytes()));
    }
    head
}
